package postgres

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/postgres/pgtest"
)

func TestTheHealthOfAServer(t *testing.T) {
	db := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	h, err := db.Health(t.Context())
	must(t, err)
	if h.Version == "" || h.Commit != "on" || h.TLS != "" || h.RoundTrip <= 0 || h.ClockOff.Abs() > time.Minute || h.Pooled || !h.Creates || h.Size != 0 ||
		h.Holder.Term != 0 || h.Unsafe != "fsync" || h.Synchronous != 0 {
		t.Errorf("before there is a store: %+v", h)
	}
	term := created(t, db)
	h, err = db.Health(t.Context())
	must(t, err)
	if h.Size == 0 || h.Holder.Term != term.Number() || h.Holder.Host != db.Host || h.Holder.Left <= 0 || len(h.Doors) != 1 || h.Doors[0] != db.Host {
		t.Errorf("of a store with a writer: %+v", h)
	}

	// A transaction of another database keeps nothing here.
	other := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	far, err := other.connect(t.Context())
	must(t, err)
	defer far.Close(t.Context())
	must(t, far.Exec(t.Context(), "begin isolation level repeatable read; select count(*) from pg_class").Close())
	h, err = db.Health(t.Context())
	must(t, err)
	if h.Horizon != 0 {
		t.Errorf("a transaction of another database counts: %v", h.Horizon)
	}

	// Another transaction keeps removed rows from giving their room back.
	c, err := db.connect(t.Context())
	must(t, err)
	defer c.Close(t.Context())
	must(t, c.Exec(t.Context(), "begin isolation level repeatable read; select count(*) from pg_class").Close())
	eventually(t, "the open transaction is seen", func() bool {
		h, err = db.Health(t.Context())
		must(t, err)
		return h.Horizon > 0
	})
}

func TestTheHealthOfAPair(t *testing.T) {
	t.Parallel()
	pair := pgtest.NewPair(t)
	db := agent(t, Config{URL: pair.URL(), Replicated: "standby"})
	eventually(t, "the standby counts as synchronous", func() bool {
		h, err := db.Health(t.Context())
		must(t, err)
		return h.Standbys != "" && h.Streaming == 1 && h.Synchronous == 1 && h.Unseen == 0
	})
}

// TestAStandbyThatKeepsRowsIsNamed: it has no transaction that the primary could show.
func TestAStandbyThatKeepsRowsIsNamed(t *testing.T) {
	pair := pgtest.NewPair(t)
	db := agent(t, Config{URL: pair.URL(), Replicated: "no"})
	for _, set := range []string{"hot_standby_feedback = on", "wal_receiver_status_interval = '1s'"} {
		pair.Standby.SQL(t, "alter system set "+set)
	}
	pair.Standby.SQL(t, "select pg_reload_conf()")
	eventually(t, "the standby and how long it keeps rows", func() bool {
		must(t, db.run(t.Context(), "select txid_current()"))
		h, err := db.Health(t.Context())
		must(t, err)
		return strings.HasPrefix(h.Keeper, "standby ") && h.Kept > 0
	})
	pair.Primary.SQL(t, "select pg_create_physical_replication_slot('left', true)") // without an xmin, so that it keeps no rows
	h, err := db.Health(t.Context())
	must(t, err)
	if !strings.HasPrefix(h.Keeper, "standby ") {
		t.Errorf("%q keeps rows", h.Keeper)
	}
}

// A user without rights learns what is missing.
func TestTheHealthForAUserWithoutRights(t *testing.T) {
	db := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	created(t, db)
	ctx := t.Context()
	if err := db.run(ctx, "create role stranger_to_health login"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := db.run(context.Background(), "drop owned by stranger_to_health; drop role stranger_to_health")
		must(t, err)
	})
	if err := db.run(ctx, `grant usage on schema personasync to stranger_to_health; grant select on all tables in schema personasync to stranger_to_health`); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(db.URL)
	must(t, err)
	u.User = url.User("stranger_to_health")
	strange := agent(t, Config{URL: u.String()})
	h, err := strange.Health(ctx)
	must(t, err)
	if h.Creates || h.Holder.Term == 0 {
		t.Errorf("%+v", h)
	}
}

// TestOneDoorIsTheFirst: it tells that nobody writes, and the others leave it to that one. The last writer is none.
func TestOneDoorIsTheFirst(t *testing.T) {
	all := agents(t, pgtest.URL(t), time.Hour, 3)
	created(t, all[0])
	for _, db := range all { // so that each is connected
		_, err := db.Health(t.Context())
		must(t, err)
	}
	var first []bool
	for _, db := range all {
		h, err := db.Health(t.Context())
		must(t, err)
		first = append(first, h.FirstDoor)
	}
	if !slices.Equal(first, []bool{false, true, false}) && !slices.Equal(first, []bool{false, false, true}) {
		t.Errorf("the writer and two doors: %v", first)
	}
}
