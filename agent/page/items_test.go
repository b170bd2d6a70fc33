package page

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
	syncer "personasync/sync"
)

// Changes implements Inspector: two items of a computation and one of none.
func (agent) Changes(_ context.Context, f domain.OutboxFilter) ([]domain.ChangeInfo, string, error) {
	list := []domain.ChangeInfo{
		{ID: "1-1-0", State: "parked", User: "ann_7", Computation: "vip", Kind: "attribute", Transition: "enter", Value: json.RawMessage(`"Bergen"`), Reason: "data_refused", Cause: "ann_7 is refused"},
		{ID: "1-2-0", State: "parked", Computation: "vip", Kind: "received", Reason: "data_refused"},
		{ID: "1-3-0", State: "parked", User: "bea_7", Kind: "received", Reason: "data_refused"},
	}
	if f.Computation != "" {
		list = slices.DeleteFunc(list, func(c domain.ChangeInfo) bool { return c.Computation != f.Computation })
	}
	return list, "more", nil
}

func ask(t *testing.T, url string, into any) (code int) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func TestItemsOfACauseNameNoUserUnlessUsersAreShown(t *testing.T) {
	type answer struct {
		Items []map[string]any
		Next  string
	}
	item := func(id, user, computation, kind, transition string) map[string]any {
		return map[string]any{"id": id, "user": user, "computation": computation, "kind": kind, "transition": transition, "event_time": "", "received_at": "", "attempts": 0.0,
			"command": "personasync --config /srv/agent.toml outbox show " + id}
	}
	for show, user := range map[bool]string{false: "a•••", true: "ann_7"} {
		_, server := serve(t, show)
		var got answer
		ask(t, server.URL+"/api/page/items?state=parked&reason=data_refused&computation=vip", &got)
		want := answer{[]map[string]any{item("1-1-0", user, "vip", "attribute", "enter"), item("1-2-0", "", "vip", "received", "")}, "more"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("with show_users = %v:\n%s", show, d)
		}
		got = answer{}
		ask(t, server.URL+"/api/page/items?state=parked&reason=data_refused", &got)
		if len(got.Items) != 1 || got.Items[0]["id"] != "1-3-0" {
			t.Errorf("the items without a computation are %+v", got.Items)
		}
	}
}

func TestItemsAreOfACauseAlone(t *testing.T) {
	_, server := serve(t, false)
	for _, query := range []string{"", "state=pending&reason=x", "state=delivered&reason=x", "state=held", "state=;&reason=x"} {
		var p map[string]any
		if code := ask(t, server.URL+"/api/page/items?"+query, &p); code != http.StatusBadRequest {
			t.Errorf("%q is answered %d: %v", query, code, p)
		}
	}
}

func TestACauseSaysWhatToType(t *testing.T) {
	s := &Source{Command: "personasync --config /srv/agent.toml", Explain: func(code string) (syncer.Explanation, bool) {
		return syncer.Explanation{Meaning: syncer.Meaning{Means: "It is so."}, Do: "Type `personasync outbox retry --reason CODE`, or `personasync audience release KEY`."}, code != "unheard_of"
	}}
	known := []domain.ComputationInfo{{Key: "vip", ID: "aud_1"}, {Key: "twice", ID: "aud_2"}, {Key: "twice", ID: "aud_3"}, {Key: "$(reboot)"}}
	const p = "personasync --config /srv/agent.toml "
	for _, c := range []struct {
		cause    Cause
		commands []string
		do       string
	}{
		{Cause{State: "held", Reason: "mass_exit", Computation: "vip"},
			[]string{p + "outbox list --state held --reason mass_exit --computation vip", p + "audience release vip", p + "audience discard vip"},
			"Type `" + p + "outbox retry --reason mass_exit`, or `" + p + "audience release vip`."},
		{Cause{State: "held", Reason: "mass_exit", Computation: "twice"},
			[]string{p + "outbox list --state held --reason mass_exit --computation twice", p + "audience list"},
			"Type `" + p + "outbox retry --reason mass_exit`, or `" + p + "audience release KEY`."},
		{Cause{State: "held", Reason: "key_conflict", Computation: "vip"},
			[]string{p + "outbox list --state held --reason key_conflict --computation vip", p + "status"},
			"Type `" + p + "outbox retry --reason key_conflict`, or `" + p + "audience release vip`."},
		{Cause{State: "parked", Reason: "unheard_of", Computation: "$(reboot)"},
			[]string{p + "outbox list --state parked --reason unheard_of --computation '$(reboot)'", p + "outbox retry --reason unheard_of --computation '$(reboot)'"}, ""},
		{Cause{State: "parked", Reason: noReason}, []string{p + "outbox list --state parked"}, "Type `" + p + "outbox retry --reason none`, or `" + p + "audience release ''`."},
	} {
		got := s.explained([]Cause{c.cause}, known)[0]
		if d := cmp.Diff(c.commands, got.Commands); d != "" {
			t.Errorf("%+v: %s", c.cause, d)
		}
		if c.cause.Reason != noReason && got.Do != c.do {
			t.Errorf("%+v: it says to do %q, want %q", c.cause, got.Do, c.do)
		}
	}
}
