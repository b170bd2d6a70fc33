package store

import (
	"context"
	"errors"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// TestPulseOfAQuietStoreWritesBothFiles: a pulse that did not write would prove nothing.
func TestPulseOfAQuietStoreWritesBothFiles(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	must(t, b.Applied(t.Context()))
	must(t, b.Liveness(t.Context()))
	segment := b.inbox.List()[0]
	for range 3 {
		inbox, state := transaction(t, segment.DB), transaction(t, b.db.DB.Load())
		must(t, b.Liveness(t.Context()))
		if n := transaction(t, segment.DB); n <= inbox {
			t.Errorf("the inbox stands at transaction %d still", n)
		}
		if n := transaction(t, b.db.DB.Load()); n <= state {
			t.Errorf("the state stands at transaction %d still", n)
		}
	}
	b.receive(event("ann", "vip", true, 1))
	b.reopen(rules(domain.SendEvent))
	if counts, err := b.Counts(); err != nil || counts.Events.Accepted != 1 || counts.Unapplied != 0 {
		t.Errorf("after probes the store counts %+v, %v", counts, err)
	}
}

// transaction returns the number of the last transaction on disk.
func transaction(t *testing.T, db *bolt.DB) (id int) {
	must(t, db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }))
	return id
}

// TestPulseWritesNothingWhereEventsDo: under load the watchdog costs nothing.
func TestPulseWritesNothingWhereEventsDo(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	for i := range 3 {
		b.receive(event("ann", "vip", true, i))
		inbox := transaction(t, b.inbox.List()[0].DB)
		must(t, b.Liveness(t.Context()))
		if n := transaction(t, b.inbox.List()[0].DB); n != inbox {
			t.Errorf("the inbox was written to by a pulse, from transaction %d to %d", inbox, n)
		}
	}
}

// TestPulseStopsWithEitherFile: each file in turn is one that lets nobody finish.
func TestPulseStopsWithEitherFile(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	must(t, b.Applied(t.Context()))
	for name, db := range map[string]*bolt.DB{"inbox": b.inbox.List()[0].DB, "state": b.db.DB.Load()} {
		must(t, b.Liveness(t.Context()))
		stuck, err := db.Begin(true)
		must(t, err)
		for range 2 { // the probe of the first still waits
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := b.Liveness(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: with nothing written for 20 ms: %v", name, err)
			}
			cancel()
		}
		must(t, stuck.Rollback())
		must(t, b.Liveness(t.Context()))
	}
}

// TestPulseTakesAFailureForAnAnswer: a full disk is no reason to be killed and started again, for ever.
func TestPulseTakesAFailureForAnAnswer(t *testing.T) {
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
	b := open(t, rules(domain.SendEvent))
	must(t, b.Close())
	_ = b.Liveness(t.Context()) // what finished before the end still counts
	if err := b.Liveness(t.Context()); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed store's pulse is %v", err)
	}
}
