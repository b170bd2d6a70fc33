package writer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
)

// running is newWriter, in a goroutine of its own until the test ends.
func running(t *testing.T) *Writer {
	t.Helper()
	w := newWriter(t)
	go w.Run()
	t.Cleanup(func() {
		if !w.Ended() {
			w.Stop()
		}
	})
	return w
}

// TestWhatWasReceivedIsAppliedAndWakesTheSender of its endpoint.
func TestWhatWasReceivedIsAppliedAndWakesTheSender(t *testing.T) {
	w := running(t)
	rules, err := record.AppendRules(nil, &domain.Rules{Defaults: domain.Policy{Send: domain.SendEvent, EnterEvent: "Audience Entered"}})
	must(t, err)
	must(t, w.inbox.AppendOther(t.Context(), rules))
	must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, &domain.Event{
		Received: noon, Time: noon, Call: domain.CallIdentify, User: domain.Identifier{ID: "ann"}, MessageID: "m-1",
		Class: domain.ClassAudience, Space: "spa_1", Key: "vip", ComputationID: "aud_vip", Flag: domain.FlagIn, Raw: []byte(`{}`),
	})))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, w.AwaitApplied(ctx, w.inbox.Last()))
	if w.Applied() != w.inbox.Last() || w.Applied() != 2 {
		t.Errorf("%d of %d are applied", w.Applied(), w.inbox.Last())
	}
	select {
	case <-w.Wake(domain.EndpointTransition):
	case <-ctx.Done():
		t.Error("the sender is not woken")
	}
	select {
	case <-w.Wake(domain.EndpointCohort):
		t.Error("the sender of cohorts is woken")
	default:
	}
	gone, leave := context.WithCancelCause(t.Context())
	why := errors.New("the caller went away")
	leave(why)
	if err := w.AwaitApplied(gone, 99); !errors.Is(err, why) {
		t.Errorf("a wait that is given up: %v", err)
	}
}

// TestAWriterThatDoesNotFinishIsNotAlive, and one with nothing to do is.
func TestAWriterThatDoesNotFinishIsNotAlive(t *testing.T) {
	w := running(t)
	l := &Liveness{Writer: w}
	for range 3 {
		must(t, l.Check(t.Context()))
	}
	must(t, w.Pause(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
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
