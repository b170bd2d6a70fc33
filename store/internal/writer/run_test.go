package writer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
