package agent

import (
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/sync/sandbox"
)

func TestAParkedEventIsSentOnceItsCauseIsRemoved(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_DEFAULTS_SEND=attribute")
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	f, err := sandbox.ParseFault("status=400,type=AttributeError,user=ann")
	if err != nil {
		t.Fatal(err)
	}
	s.box.Fail(f)
	a.tell("[" + news("ann", true, time.Now()) + "," + news("bob", true, time.Now()) + "]")
	eventually(t, i, "ann is parked and bob is not", func(st condition.Status) bool { return st.Parked == 1 && st.Delivered == 1 })
	s.box.Heal()
	client := i.(*api.Client)
	if r, err := client.Retry(t.Context(), api.ActionOrder{Reason: "another"}); err != nil || r.Done != 0 {
		t.Errorf("another reason: %+v, %v", r, err)
	}
	if r, err := client.Retry(t.Context(), api.ActionOrder{Reason: "data_refused", DryRun: true}); err != nil || r.Done != 1 || len(r.Samples) != 1 {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	r, err := client.Retry(t.Context(), api.ActionOrder{Reason: "data_refused"})
	if err != nil || r.Done != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	eventually(t, i, "ann is told of", func(st condition.Status) bool { return st.Parked == 0 && st.Delivered == 2 })
	r, err = client.Retry(t.Context(), api.ActionOrder{IDs: r.Samples})
	if err != nil || r.Done != 0 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Why, "delivered") {
		t.Errorf("once more: %+v, %v", r, err)
	}
}
