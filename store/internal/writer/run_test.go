package writer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/state"
)

// TestWhatWasReceivedIsAppliedAndWakesTheSender of its endpoint.
func TestWhatWasReceivedIsAppliedAndWakesTheSender(t *testing.T) {
	loop(t, func(*Writer) {}, func(t *testing.T, w *Writer) {
		must(t, w.inbox.AppendOther(t.Context(), rulesFrame(t)))
		receiveEnter(t, w, "ann")
		must(t, w.AwaitApplied(t.Context(), w.inbox.Last()))
		if w.Applied() != w.inbox.Last() || w.Applied() != 2 {
			t.Errorf("%d of %d are applied", w.Applied(), w.inbox.Last())
		}
		synctest.Wait()
		for endpoint, want := range map[domain.Endpoint]int{domain.EndpointTransition: 1, domain.EndpointCohort: 0} {
			if woken := len(w.Wake(endpoint)); woken != want {
				t.Errorf("the sender of %v is woken %d times, want %d", endpoint, woken, want)
			}
		}
		gone, leave := context.WithCancelCause(t.Context())
		why := errors.New("the caller went away")
		leave(why)
		if err := w.AwaitApplied(gone, 99); !errors.Is(err, why) {
			t.Errorf("a wait that is given up: %v", err)
		}
	})
}

// TestAWriterThatDoesNotFinishIsNotAlive, and one with nothing to do is.
func TestAWriterThatDoesNotFinishIsNotAlive(t *testing.T) {
	loop(t, func(*Writer) {}, func(t *testing.T, w *Writer) {
		l := &Liveness{Writer: w}
		for range 3 {
			must(t, l.Check(t.Context()))
		}
		must(t, w.Pause(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := l.Check(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a transaction of the state does not end") {
				t.Errorf("while it stands still: %v", err)
			}
		}))
		must(t, l.Check(t.Context()))
		w.Stop()
		if err := l.Check(t.Context()); !errors.Is(err, domain.ErrClosed) || !w.Ended() {
			t.Errorf("of a stopped writer: %v, ended %v", err, w.Ended())
		}
	})
}

// TestAnInboxThatDoesNotCommitIsNotAlive: its disk does not answer, while the state's may.
func TestAnInboxThatDoesNotCommitIsNotAlive(t *testing.T) {
	w, silent := newWriter(t), errors.New("the disk does not answer")
	w.inbox = &scripted{Inbox: w.inbox, silent: silent}
	if err := (&Liveness{Writer: w}).Check(t.Context()); !errors.Is(err, silent) || !strings.Contains(err.Error(), "a commit of the inbox does not end") {
		t.Errorf("%v", err)
	}
}

// TestAStartNeedsNoRoom: what the last stop cut off is settled once there is some. Another error ends the start.
func TestAStartNeedsNoRoom(t *testing.T) {
	for _, tc := range []struct{ met, want error }{{domain.ErrFull, nil}, {errUnreadable, errUnreadable}} {
		w := newWriter(t)
		w.db, w.carry.arrival = &failing{State: w.db, updates: []error{tc.met}}, &state.Arrival{Home: []byte("here"), First: 5, Epoch: 9}
		if err := w.Recover(); !errors.Is(err, tc.want) || !w.EpochPending() {
			t.Errorf("%v: %v, the epoch is pending: %v", tc.met, err, w.EpochPending())
		}
	}
}

// TestACorruptLeaseIsSetAside at the next start, also where it is the only one.
func TestACorruptLeaseIsSetAside(t *testing.T) {
	w, key := newWriter(t), state.NumberKey(7)
	must(t, w.db.Update(func(tx engine.Tx) error { return tx.Bucket(state.BucketLeases).Put(key, []byte("corrupt")) }))
	must(t, w.db.View(func(tx engine.Tx) (err error) { w.state, err = state.LoadCounted(tx); return err }))
	must(t, w.Recover())
	must(t, w.db.View(func(tx engine.Tx) error {
		if tx.Bucket(state.BucketLeases).Get(key) != nil || engine.Count(tx.Bucket(state.BucketDamaged)) != 1 || w.state.Ledger.Damaged != 1 {
			t.Errorf("%d are set aside, and %d counted", engine.Count(tx.Bucket(state.BucketDamaged)), w.state.Ledger.Damaged)
		}
		return nil
	}))
}

// TestARequestThatAKillCutOffIsUncertain: its changes are sent again, and nothing is in a request any more.
func TestARequestThatAKillCutOffIsUncertain(t *testing.T) {
	w := newWriter(t)
	must(t, w.Recover()) // nothing was cut off
	receive(t, w)
	var lease, again *domain.Lease
	must(t, w.Write(false, take(&lease)))
	if lease == nil || len(w.state.Leases) != 1 {
		t.Fatalf("%+v is leased", lease)
	}
	must(t, w.Recover()) // as the next start does
	if len(w.state.Leases) != 0 || w.carry.any() {
		t.Errorf("%d requests are still under way", len(w.state.Leases))
	}
	must(t, w.Write(false, take(&again)))
	if again == nil || len(again.Users) != 1 || again.Users[0].Event.ID != lease.Users[0].Event.ID {
		t.Errorf("sent again is %+v", again)
	}
}

// TestRefusalsAreWrittenAtTheEnd, of which no transaction came.
func TestRefusalsAreWrittenAtTheEnd(t *testing.T) {
	w := newWriter(t)
	must(t, w.Finish())
	w.refused.Count(domain.Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Last: noon})
	must(t, w.Finish())
	if w.refused.Unwritten() || w.state.Ledger.Rejected != 1 {
		t.Errorf("unwritten: %v, the ledger has %d", w.refused.Unwritten(), w.state.Ledger.Rejected)
	}
}
