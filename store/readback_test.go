package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine/bolt"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/writer"
)

// failing ends the transaction it rides in with an error, after everything was applied and written.
func failing(then func()) *writer.Command {
	return &writer.Command{
		Do:    func(*state.Tx) error { return nil },
		After: func(tx *state.Tx) { then(); tx.Err = errors.New("the disk failed") },
	}
}

// unreadable puts a file that cannot be read in the place of the state, until mended is called.
func (b *bench) unreadable() (mended func()) {
	b.Helper()
	closed, err := bolt.Open(filepath.Join(b.dir, "closed.db"), 0, false)
	must(b, err)
	must(b, closed.Close())
	was := b.db.Replace(closed)
	return func() { b.db.Replace(was) }
}

// TestWhatAFailedTransactionLeftInMemoryIsNotWrittenByTheNext: when the state could not be read back either,
// the next transaction wrote a position that nothing had been applied up to, and acknowledged events were gone.
func TestWhatAFailedTransactionLeftInMemoryIsNotWrittenByTheNext(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	mended := func() {}
	must(t, b.writer.Pause(func() {
		must(t, b.Append(t.Context(), event("bob", "vip", true, 2))) // waits to be applied
		err := b.writer.Write(true, failing(func() { mended = b.unreadable() }))
		if err == nil {
			t.Error("the transaction did not fail")
		}
		if err := b.writer.Write(false); err == nil {
			t.Error("a transaction came to an end while the state could not be read back")
		}
		mended()
	}))
	b.receive(event("cid", "vip", true, 3))
	b.wantMembers("vip", "ann", "bob", "cid")
	b.balance()
	b.drain()
	b.wantSaid("bob.vip=true ann.vip=true cid.vip=true")
	b.reopen(rules(domain.SendAttribute))
	b.wantMembers("vip", "ann", "bob", "cid")
	recount(t, b)
}

// TestACommandIsRefusedWhileTheStateCannotBeReadBack, and the writer goes on by itself once it can.
func TestACommandIsRefusedWhileTheStateCannotBeReadBack(t *testing.T) {
	onFiles(t)
	t.Parallel() // it waits
	b := open(t, rules(domain.SendAttribute))
	mended := func() {}
	must(t, b.writer.Pause(func() {
		must(t, b.Append(t.Context(), event("ann", "vip", true, 1)))
		_ = b.writer.Write(true, failing(func() { mended = b.unreadable() }))
	}))
	if err := b.writer.Do(t.Context(), func(*state.Tx) error { t.Error("it was done"); return nil }, nil); err == nil {
		t.Error("a command was carried out on a state that was not read back")
	}
	mended()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, b.Applied(ctx))
	b.wantMembers("vip", "ann")
}

// TestAFailedTransactionCountsNoOrderTwice: the records that are no events were taken off the count before
// the commit, so that a commit which failed made events of the next orders.
func TestAFailedTransactionCountsNoOrderTwice(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.writer.Pause(func() {
		for range 3 {
			must(t, b.records.AppendOther(t.Context(), mustRules(t, rules(domain.SendAttribute))))
		}
		for range 2 {
			_ = b.writer.Write(true, failing(func() {}))
		}
		c, err := b.Counts()
		must(t, err)
		if c.Received != 1 {
			t.Errorf("%d events were received, by the count, of 1", c.Received)
		}
	}))
	must(t, b.Applied(t.Context()))
	if n := b.records.Others(); n != 0 {
		t.Errorf("%d orders wait, by the count, after all were applied", n)
	}
}

func mustRules(t testing.TB, r domain.Rules) []byte {
	t.Helper()
	frame, err := record.AppendRules(nil, &r)
	must(t, err)
	return frame
}

// TestRulesWhoseAppendMayHaveFailedAreWrittenAgain: a change that was cut short may be in the inbox all the
// same, so that the rules before it are not known to be in force.
func TestRulesWhoseAppendMayHaveFailedAreWrittenAgain(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	release := b.holdCommits()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.SetRules(ctx, rules(domain.SendEvent)); err == nil {
		t.Error("it was not cut short")
	}
	release()
	must(t, b.SetRules(t.Context(), rules(domain.SendAttribute)))
	must(t, b.Applied(t.Context()))
	known, err := b.rules.applied()
	must(t, err)
	if known == nil || known.Defaults.Send != domain.SendAttribute {
		t.Errorf("in force are %+v", known)
	}
}
