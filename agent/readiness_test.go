package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store"
)

// TestReadinessKnowsSinceWhen: an operator who is woken asks that first.
func TestReadinessKnowsSinceWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &readiness{now: time.Now}
		if r.unready() != "" || !r.unreadySince().IsZero() {
			t.Error("an agent that is ready has a time of being unready")
		}
		r.miss("it is a folder")
		r.unready()
		since := time.Now()
		time.Sleep(time.Minute)
		r.note(t.Context(), store.ErrFull) // another reason
		if r.unready(); !r.unreadySince().Equal(since) {
			t.Errorf("unready since %v, want %v", r.unreadySince(), since)
		}
		time.Sleep(unwellFor)
		r.miss("")
		if r.unready() != "" || !r.unreadySince().IsZero() {
			t.Errorf("ready again, it is unready since %v", r.unreadySince())
		}
	})
}

func TestReadinessFollowsWhatAppendsMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails error
		r := &readiness{now: time.Now, phase: "starting"}
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
		r.note(t.Context(), fails)
		says(store.ErrFull.Error())
		fails = nil
		r.note(t.Context(), fails)
		says("") // it recovers with the first that succeeds

		fails = store.ErrFull
		r.note(t.Context(), fails)
		time.Sleep(unwellFor)
		says("") // nobody sent since: let them try

		fails = store.ErrBusy
		r.note(t.Context(), fails)
		says("")

		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		fails = context.Canceled
		r.note(gone, fails)
		says("")

		r.enter("stopping")
		says("stopping")
	})
}

// TestAStoreWithoutRoomIsUnreadyAsLongAsItSaysSo: no sender has to find out, and none is waited for.
func TestAStoreWithoutRoomIsUnreadyAsLongAsItSaysSo(t *testing.T) {
	var full error
	r := &readiness{refusal: func() error { return full }, now: time.Now}
	full = &store.FullError{Reason: "3 bytes are free"}
	if got := r.unready(); got != "3 bytes are free" {
		t.Errorf("unready says %q", got)
	}
	r.note(t.Context(), full)
	full = nil
	if got := r.unready(); got != "" {
		t.Errorf("there is room again, and unready says %q", got)
	}
}

// TestADoorWithoutItsDatabaseIsUnready: for as long as that lasts, though nobody delivers.
func TestADoorWithoutItsDatabaseIsUnready(t *testing.T) {
	var away error
	r := &readiness{now: time.Now, away: func() error { return away }}
	if why := r.unready(); why != "" {
		t.Errorf("unready: %s", why)
	}
	away = errors.New("PostgreSQL cannot be used")
	if r.unready() != away.Error() {
		t.Errorf("unready says %q", r.unready())
	}
}

// TestAFullDatabaseIsUnready: its disk is not the one that refusal looks at.
func TestAFullDatabaseIsUnready(t *testing.T) {
	r := &readiness{now: time.Now, refusal: func() error { return nil }}
	r.note(t.Context(), store.ErrFull)
	if r.unready() == "" {
		t.Error("every delivery is refused, and it is ready")
	}
}
