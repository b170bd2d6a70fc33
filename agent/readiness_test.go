package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// inboxFunc is an Inbox made of one function.
type inboxFunc func() error

func (f inboxFunc) Append(context.Context, ...*domain.Event) error { return f() }
func (f inboxFunc) CountRefusal(domain.Refusal)                    {}

func TestReadinessFollowsWhatAppendsMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails error
		r := &readiness{store: inboxFunc(func() error { return fails }), now: time.Now, phase: "starting"}
		says := func(want string) {
			t.Helper()
			if got := r.unready(); got != want {
				t.Errorf("unready says %q, want %q", got, want)
			}
		}
		says("starting")
		r.enter("")
		says("")

		fails = store.ErrFull
		if err := r.Append(t.Context()); !errors.Is(err, store.ErrFull) {
			t.Errorf("the door is told %v", err)
		}
		says(store.ErrFull.Error())
		fails = nil
		_ = r.Append(t.Context())
		says("") // it recovers with the first that succeeds

		fails = store.ErrFull
		_ = r.Append(t.Context())
		time.Sleep(unwellFor)
		says("") // nobody sent since: let them try

		fails = store.ErrBusy
		_ = r.Append(t.Context())
		says("")

		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		fails = context.Canceled
		_ = r.Append(gone)
		says("")

		r.enter("stopping")
		says("stopping")
	})
}

// TestAStoreWithoutRoomIsUnreadyAsLongAsItSaysSo: no sender has to find out, and none is waited for.
func TestAStoreWithoutRoomIsUnreadyAsLongAsItSaysSo(t *testing.T) {
	var full error
	r := &readiness{store: inboxFunc(func() error { return full }), refusal: func() error { return full }, now: time.Now}
	full = &store.FullError{Reason: "3 bytes are free"}
	if got := r.unready(); got != "3 bytes are free" {
		t.Errorf("unready says %q", got)
	}
	_ = r.Append(t.Context())
	full = nil
	if got := r.unready(); got != "" {
		t.Errorf("there is room again, and unready says %q", got)
	}
}
