package verify

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

func (w *workspace) user(id string, settle time.Duration) (*api.UserVerification, error) {
	w.t.Helper()
	v := New(w.store, w.config(), quiet)
	defer v.Close()
	return v.User(w.t.Context(), id, settle)
}

// states are the states of the values, in their order.
func states(r *api.UserVerification) string {
	var list []string
	for _, v := range r.Values {
		list = append(list, v.Attribute+" "+v.State+" "+string(v.Want)+" "+string(v.Got))
	}
	return strings.Join(list, "; ")
}

func TestAUserIsComparedValueByValue(t *testing.T) {
	w := newWorkspace(t, domain.SendAttribute)
	w.enter("ann", "bob")
	r, err := w.user("ann", 0)
	if err != nil || states(r) != "" || len(r.Unseen) != 1 || r.Unseen[0] != "vip" {
		t.Errorf("before anything was sent: %+v, %v", r, err)
	}
	w.deliver(2)
	for _, c := range []struct {
		name, user string
		settle     time.Duration
		before     func()
		want       string
		known      bool
	}{
		{"as sent", "ann", 0, func() {}, "vip agrees true true", true},
		{"sent a moment ago", "ann", time.Hour, func() {}, "vip moving true true", true},
		{"an attribute is gone", "ann", 0, func() { w.box.Lose("ann", "vip") }, "vip missing true null", true},
		{"the user is gone", "bob", 0, func() { w.box.Lose("bob") }, "vip missing true null", false},
	} {
		c.before()
		r, err := w.user(c.user, c.settle)
		if err != nil || states(r) != c.want || r.Known != c.known || len(r.Unseen) != 0 {
			t.Errorf("%s: %q, known %v, unseen %v, %v", c.name, states(r), r.Known, r.Unseen, err)
		}
	}
	if _, err := w.user("nobody", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a user of whom nothing is known: %v", err)
	}
}

func TestAnEntryOfAListIsCompared(t *testing.T) {
	w := newWorkspace(t, domain.SendList)
	w.enter("ann")
	w.deliver(1)
	r, err := w.user("ann", 0)
	if err != nil || len(r.Values) != 1 || r.Values[0].Entry != "vip" || r.Values[0].State != api.ValueAgrees || string(r.Values[0].Got) != "true" {
		t.Errorf("%+v, %v", r, err)
	}
	w.box.Lose("ann")
	if r, err = w.user("ann", 0); err != nil || r.Known || r.Values[0].State != api.ValueMissing || string(r.Values[0].Got) != "false" {
		t.Errorf("afterwards %+v, %v", r, err)
	}
}

func TestARefusalIsNoComparison(t *testing.T) {
	w := newWorkspace(t, domain.SendAttribute)
	w.enter("ann")
	w.deliver(1)
	c := w.config()
	c.Transport = inProcess{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })}
	v := New(w.store, c, quiet)
	defer v.Close()
	var refused *syncer.ReadError
	if r, err := v.User(t.Context(), "ann", 0); r != nil || !errors.As(err, &refused) {
		t.Errorf("%+v, %v", r, err)
	}
}
