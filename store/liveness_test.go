package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
)

// TestPulseOfAQuietStoreWritesBothFiles: a pulse that did not write would prove nothing.
func TestPulseOfAQuietStoreWritesBothFiles(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendEvent))
	must(t, b.Applied(t.Context()))
	must(t, b.Liveness(t.Context()))
	for range 3 {
		inbox, state := b.transactionIn("inbox-00000001.db"), b.transactionIn(datadir.StateFile)
		must(t, b.Liveness(t.Context()))
		if n := b.transactionIn("inbox-00000001.db"); n <= inbox {
			t.Errorf("the inbox stands at transaction %d still", n)
		}
		if n := b.transactionIn(datadir.StateFile); n <= state {
			t.Errorf("the state stands at transaction %d still", n)
		}
	}
	b.receive(event("ann", "vip", true, 1))
	b.reopen(rules(domain.SendEvent))
	if counts, err := b.Counts(); err != nil || counts.Events.Accepted != 1 || counts.Unapplied != 0 {
		t.Errorf("after probes the store counts %+v, %v", counts, err)
	}
}

// transactionIn returns the number of the last transaction in a file.
func (b *bench) transactionIn(name string) uint64 {
	b.Helper()
	file, err := boltpage.Open(filepath.Join(b.dir, name))
	must(b, err)
	defer file.Close()
	newest, _ := file.Newest()
	return newest.Txid
}

// TestPulseWritesNothingWhereEventsDo: under load the watchdog costs nothing.
func TestPulseWritesNothingWhereEventsDo(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendEvent))
	for i := range 3 {
		b.receive(event("ann", "vip", true, i))
		inbox := b.transactionIn("inbox-00000001.db")
		must(t, b.Liveness(t.Context()))
		if n := b.transactionIn("inbox-00000001.db"); n != inbox {
			t.Errorf("the inbox was written to by a pulse, from transaction %d to %d", inbox, n)
		}
	}
}

// TestPulseStopsWithEitherFile: each file in turn is one that lets nobody finish.
func TestPulseStopsWithEitherFile(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendEvent))
	must(t, b.Applied(t.Context()))
	for name, stick := range map[string]func() (release func()){"inbox": b.stickInbox, "state": b.stickState} {
		must(t, b.Liveness(t.Context()))
		release := stick()
		for range 2 { // the probe of the first still waits
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := b.Liveness(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: with nothing written for 20 ms: %v", name, err)
			}
			cancel()
		}
		release()
		must(t, b.Liveness(t.Context()))
	}
}

// stickInbox begins a commit of the inbox that ends with release.
func (b *bench) stickInbox() (release func()) {
	reached, released, appended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	crashpoint.OnPoint(func(p crashpoint.Point) {
		if p == crashpoint.InboxCommitted {
			crashpoint.OnPoint(nil)
			close(reached)
			<-released
		}
	})
	go func() { appended <- b.Append(context.Background(), event("ann", "vip", true, 1)) }()
	<-reached
	return func() {
		close(released)
		must(b, <-appended)
		must(b, b.Applied(context.Background()))
	}
}

// stickState begins a transaction of the state that ends with release.
func (b *bench) stickState() (release func()) {
	b.Helper()
	stuck, err := b.db.DB().Begin(true)
	must(b, err)
	return func() { must(b, stuck.Rollback()) }
}

// TestPulseTakesAFailureForAnAnswer: a full disk is no reason to be killed and started again, for ever.
func TestPulseTakesAFailureForAnAnswer(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendEvent))
	must(t, b.Applied(t.Context()))
	must(t, b.Liveness(t.Context()))
	must(t, b.db.Close()) // every transaction of the state fails from here on, at once
	if err := b.writer.Do(t.Context(), func(*state.Tx) error { return nil }, nil); err == nil {
		t.Fatal("a transaction succeeded on a closed file")
	}
	for range 2 {
		must(t, b.Liveness(t.Context()))
	}
}

func TestPulseEndsWithTheStore(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendEvent))
	must(t, b.Close())
	_ = b.Liveness(t.Context()) // what finished before the end still counts
	if err := b.Liveness(t.Context()); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed store's pulse is %v", err)
	}
}
