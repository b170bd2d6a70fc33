package writer

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWriter returns a writer on new files, which Run is not called for: the test is its goroutine.
func newWriter(t *testing.T) *Writer {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	path := filepath.Join(dir, datadir.StateFile)
	must(t, bolt.Create(path, 1, state.StateBuckets, state.Init))
	db, err := bolt.Open(path, 0, false)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	var st *state.State
	must(t, db.View(func(tx engine.Tx) error { st, err = state.LoadCounted(tx); return err }))
	inbox, err := wal.Open(dir, wal.Config{Epoch: st.Epoch, First: 1, Records: record.InboxRecords})
	must(t, err)
	t.Cleanup(inbox.Close)
	marker, err := datadir.OpenShutdownMarker(dir)
	must(t, err)
	t.Cleanup(func() { marker.Close() })
	now := time.Now()
	return New(Config{
		Log: log, DB: db, State: st, Inbox: inbox, Damage: datadir.NewDamage(log, marker),
		Parkings: state.NewParkings(now), Refused: refusal.New(now),
	})
}

// receive appends rules and one enter of ann, and applies both.
func receive(t *testing.T, w *Writer) {
	t.Helper()
	rules, err := record.AppendRules(nil, &domain.Rules{Defaults: domain.Policy{Send: domain.SendEvent, EnterEvent: "Audience Entered", ExitEvent: "Audience Exited"}})
	must(t, err)
	must(t, w.inbox.AppendOther(t.Context(), rules))
	raw := []byte(`{"traits":{"vip":true}}`)
	must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, &domain.Event{
		Received: noon, Time: noon, Call: domain.CallIdentify, User: domain.Identifier{ID: "ann"}, MessageID: "m-1",
		Class: domain.ClassAudience, Space: "spa_1", Key: "vip", ComputationID: "aud_vip", Flag: domain.FlagIn, Raw: raw,
	})))
	must(t, w.Write(true))
}

// take is a command that takes what is due into *lease.
func take(lease **domain.Lease) *Command {
	due := time.Now().Add(time.Hour)
	return &Command{Do: func(tx *state.Tx) error {
		*lease, _ = outbox.Take(tx, domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: due, MaxUsers: 10, MaxEvents: 10,
			Due: func(string) time.Time { return due }, Fit: func(domain.UserChanges) bool { return true },
		})
		return nil
	}}
}

// TestALeaseThatNoSenderWasGivenIsReleased: taking failed after the meta page was written, so the lease is in the file
// and no sender has it. Its users waited for the next start.
func TestALeaseThatNoSenderWasGivenIsReleased(t *testing.T) {
	w := newWriter(t)
	receive(t, w)
	var lease, again *domain.Lease
	must(t, w.Write(false, take(&lease)))
	if lease == nil {
		t.Fatal("nothing was due")
	}
	w.carry.unread, w.carry.lastLease = true, lease.ID-1
	must(t, w.Write(false))
	must(t, w.Write(false, take(&again)))
	if again == nil || len(again.Users) != 1 || again.Users[0].Event.Attempts != 0 {
		t.Errorf("taken again: %+v", again)
	}
}

// TestACommandThatFailsUndoesTheWholeTransaction: another command that rides in it is told of the same error, and the
// state is as the file has it.
func TestACommandThatFailsUndoesTheWholeTransaction(t *testing.T) {
	w := newWriter(t)
	receive(t, w)
	refused := errors.New("refused")
	var lease *domain.Lease
	if err := w.Write(false, take(&lease), &Command{Do: func(*state.Tx) error { return refused }}); !errors.Is(err, refused) {
		t.Fatalf("the transaction ended with %v", err)
	}
	if lease == nil || w.state.LastLease != 0 || len(w.state.Leases) > 0 {
		t.Errorf("the state has lease %d, and %d are open", w.state.LastLease, len(w.state.Leases))
	}
	must(t, w.Write(false, take(&lease)))
	if must(t, w.Write(false)); len(w.state.Leases) != 1 {
		t.Errorf("%d leases are open after one that succeeded", len(w.state.Leases))
	}
}

// TestAStoppedWriterAnswersErrClosed: no caller waits for a goroutine that has ended.
func TestAStoppedWriterAnswersErrClosed(t *testing.T) {
	loop(t, func(*Writer) {}, func(t *testing.T, w *Writer) {
		ran := false
		must(t, w.Do(t.Context(), func(*state.Tx) error { ran = true; return nil }, nil))
		w.Stop()
		never := func() (bool, error) { return false, nil }
		for name, err := range map[string]error{
			"do":    w.Do(t.Context(), nothing, nil),
			"pause": w.Pause(func() { t.Error("it ran in a goroutine that has ended") }),
			"await": w.Await(context.Background(), never),
		} {
			if !ran || !errors.Is(err, domain.ErrClosed) {
				t.Errorf("%s answers %v", name, err)
			}
		}
	})
}

// TestAWaitEndsWithAnErrorThatLasts: a full disk at once, another one after some transactions in a row, and neither if what
// it waits for is there all the same.
func TestAWaitEndsWithAnErrorThatLasts(t *testing.T) {
	failed := errors.New("the disk failed")
	for name, c := range map[string]struct {
		fault error
		after int
		there bool
	}{
		"a full disk":                         {domain.ErrFull, 1, false},
		"another error":                       {failed, maxFailures, false},
		"a full disk, and it is there by now": {domain.ErrFull, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, asked := &Writer{mailbox: newMailbox(), notify: newNotifier()}, 0
				err := w.Await(t.Context(), func() (bool, error) {
					if asked++; asked <= c.after {
						w.notify.ended(c.fault, true)
					}
					return c.there && asked > c.after, nil
				})
				want := c.fault
				if c.there {
					want = nil
				}
				if !errors.Is(err, want) || c.there && asked > c.after+2 || !c.there && asked != c.after+1 {
					t.Errorf("it ends with %v after %d looks, want %v after %d", err, asked, want, c.after+1)
				}
			})
		})
	}
}
