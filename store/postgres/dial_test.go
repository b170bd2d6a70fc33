package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"personasync/store/engine"
	"personasync/store/postgres/pgtest"
)

// TestAServerThatStandsStillKeepsNobody: each connection waited for the first server of the address until its timeout, so
// that a term could not be renewed, nor a reader be answered, for as long as that one stood still.
func TestAServerThatStandsStillKeepsNobody(t *testing.T) {
	t.Parallel()
	pair := pgtest.NewPair(t)
	db := agent(t, Config{URL: pair.URL() + "&connect_timeout=600", Replicated: "no"})
	created(t, db)
	pair.Primary.Freeze(t)
	pair.Standby.Promote(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // far less than the timeout of the first server
	defer cancel()
	for range 2 {
		conn, err := db.pool.dial(ctx)
		must(t, err)
		closeNow(conn)
	}
	pair.Primary.Thaw(t)
}

// TestAnOldPrimaryThatRunsIsLeft: it stands first in the address, takes connections, and waits with each commit for a
// standby that has left it. Agents stayed there, and none could take the term.
func TestAnOldPrimaryThatRunsIsLeft(t *testing.T) {
	t.Parallel()
	pair := pgtest.NewPair(t)
	door := agent(t, Config{URL: pair.URL(), Replicated: "no", TTL: time.Second})
	first := created(t, agent(t, Config{URL: pair.URL(), Replicated: "no", TTL: time.Second}))
	pair.Standby.Promote(t)
	<-first.Context().Done()
	next, err := door.Wait(t.Context())
	must(t, err)
	defer next.Release(t.Context())
	if n := pair.Standby.SQL(t, "select number from personasync.term"); n != "2" {
		t.Errorf("the new primary has term %s", n)
	}
}

// TestAReaderThatWaitsForAServerThatIsGoneEnds with the role of its agent: the next role waited for it, for 45 s.
func TestAReaderThatWaitsForAServerThatIsGoneEnds(t *testing.T) {
	t.Parallel()
	pair := pgtest.NewPair(t)
	db := agent(t, Config{URL: pair.URL(), Replicated: "no"})
	must(t, db.Create(t.Context(), newTerm(t, db), 7, buckets, func(engine.Tx) error { return nil }))
	s := db.State(nil)
	reading, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.View(func(tx engine.Tx) error {
			pair.Primary.Freeze(t)
			close(reading)
			tx.Bucket([]byte("rows")).Get([]byte("k"))
			return nil
		})
	}()
	select {
	case <-reading:
	case err := <-done:
		t.Fatal(err)
	}
	must(t, s.Close())
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	pair.Primary.Thaw(t)
}
