package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/postgres/internal/roundtrip"
	"personasync/store/postgres/pgtest"
)

// agents connects to the same database as that many agents, named a, b and so on.
func agents(t testing.TB, address string, ttl time.Duration, n int) (list []*DB) {
	t.Helper()
	for i := range n {
		list = append(list, agent(t, Config{URL: address, Host: string(rune('a' + i)), TTL: ttl}))
	}
	return list
}

func agent(t testing.TB, c Config) *DB {
	t.Helper()
	c.Replicated, c.Version, c.Log = "no", "1.0", slog.New(slog.DiscardHandler)
	db, err := Connect(t.Context(), c)
	must(t, err)
	t.Cleanup(db.Close)
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leads has db acquire the term for as long as the test lasts.
func leads(t testing.TB, db *DB) *Term {
	t.Helper()
	term, err := db.Acquire(t.Context())
	must(t, err)
	releases(t, term)
	return term
}

// releases gives back a term at the end of the test.
func releases(t testing.TB, term *Term) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = term.Release(ctx)
	})
}

// eventually waits for a state.
func eventually(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// write is a transaction of the writer that changes nothing.
func write(t *Term) error {
	return t.fenced(context.Background(), func(*pgconn.PgConn) error { return nil })
}

// TestOneOfManyHasTheTerm: all race for it, each gives it up after a moment, and no two ever have it.
func TestOneOfManyHasTheTerm(t *testing.T) {
	var holders, terms atomic.Int64
	var racers sync.WaitGroup
	seen := sync.Map{}
	for _, db := range agents(t, pgtest.URL(t), 5*time.Second, 3) {
		racers.Go(func() {
			for range 3 {
				term, err := db.Wait(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if holders.Add(1) != 1 {
					t.Error("two have the term")
				}
				if _, twice := seen.LoadOrStore(term.Number(), true); twice {
					t.Errorf("number %d is given twice", term.Number())
				}
				terms.Add(1)
				if err := write(term); err != nil {
					t.Error(err)
				}
				holders.Add(-1)
				if err := term.Release(t.Context()); err != nil {
					t.Error(err)
				}
				if term.Context().Err() == nil || !errors.Is(context.Cause(term.Context()), ErrTermOver) {
					t.Errorf("after its release a term has %v", context.Cause(term.Context()))
				}
			}
		})
	}
	racers.Wait()
	if terms.Load() != 9 {
		t.Errorf("%d terms, want 9", terms.Load())
	}
}

// TestAHeldTermNamesItsHolder: and a release hands it over without waiting for the TTL.
func TestAHeldTermNamesItsHolder(t *testing.T) {
	both := agents(t, pgtest.URL(t), time.Hour, 2)
	before := time.Now()
	first := leads(t, both[0])
	_, err := both[1].Acquire(t.Context())
	held := new(HeldError)
	if !errors.As(err, &held) || !errors.Is(err, ErrHeld) {
		t.Fatalf("asked for a term that another has: %v", err)
	}
	if held.Host != "a" || held.Version != "1.0" || held.Term != 1 || held.Left > time.Hour || held.Left < 50*time.Minute ||
		held.Since.Before(before.Add(-time.Minute)) || held.Since.After(time.Now().Add(time.Minute)) {
		t.Errorf("held by %+v", held.Holder)
	}
	if !strings.Contains(err.Error(), "another agent is the writer: a (version 1.0), since 20") {
		t.Errorf("it reads %q", err)
	}
	taken := make(chan error)
	go func() {
		second, err := both[1].Wait(t.Context())
		if err == nil {
			if second.Number() != 2 {
				err = fmt.Errorf("number %d", second.Number())
			}
			err = errors.Join(err, second.Release(t.Context()))
		}
		taken <- err
	}()
	must(t, first.Release(t.Context()))
	must(t, <-taken)
	must(t, first.Release(t.Context())) // once more, it touches no other's
}

// TestARenewalBehindTheReleaseKeepsNobodyWaiting: Release ends a renewal under way, and the server may run it all the same, later.
func TestARenewalBehindTheReleaseKeepsNobodyWaiting(t *testing.T) {
	both := agents(t, pgtest.URL(t), time.Hour, 2)
	first := leads(t, both[0])
	must(t, first.Release(t.Context()))
	late := &Term{db: both[0], number: first.number, life: t.Context()}
	conn, err := both[0].connect(t.Context())
	must(t, err)
	defer closeNow(conn)
	if err := late.renewOnce(conn); !errors.Is(err, ErrTermOver) {
		t.Errorf("renewed after its release: %v", err)
	}
	leads(t, both[1])
}

// TestATermIsKeptForAsLongAsItIsRenewed: much longer than its TTL.
func TestATermIsKeptForAsLongAsItIsRenewed(t *testing.T) {
	both := agents(t, pgtest.URL(t), time.Second, 2)
	term := leads(t, both[0])
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := both[1].Acquire(t.Context()); !errors.Is(err, ErrHeld) {
			t.Fatalf("another took it: %v", err)
		}
	}
	if err := term.Context().Err(); err != nil {
		t.Errorf("it ended: %v", context.Cause(term.Context()))
	}
}

// TestAWriterThatStoodStillWritesNothing: it was stopped within a transaction, and goes on after another took over. Its
// transaction is gone, its term is over by its own clock, and even if it does not look its next write meets the fence.
func TestAWriterThatStoodStillWritesNothing(t *testing.T) {
	t.Parallel() // it waits
	both := agents(t, pgtest.URL(t), 2*time.Second, 2)
	var said bytes.Buffer
	both[1].Config.Log = slog.New(slog.NewTextHandler(&said, nil))
	term := leads(t, both[0])
	must(t, write(term))
	before := time.Now()
	term.end(errors.New("stands still")) // nobody renews
	<-term.renewed
	var next *Term
	err := term.fenced(t.Context(), func(conn *pgconn.PgConn) (err error) {
		if next, err = both[1].Wait(t.Context()); err != nil { // while this one has the fence
			return err
		}
		return roundtrip.Send(t.Context(), conn, nil, roundtrip.Statement{SQL: "update " + both[0].quoted("term") + " set number = 17"})
	})
	if err == nil {
		t.Error("it wrote in the middle of the next term")
	}
	if !strings.Contains(said.String(), "its connections to PostgreSQL are ended") {
		t.Errorf("the next agent waited for a timeout: %s", &said)
	}
	if took := time.Since(before); took < 2*time.Second-term.db.TTL/3 {
		t.Errorf("another took over after %v, before the TTL", took)
	}
	releases(t, next)
	if err := write(term); !errors.Is(err, ErrTermOver) {
		t.Errorf("a write under a term that is over: %v", err)
	}
	must(t, write(next))
	if next.Number() != term.Number()+1 {
		t.Errorf("terms %d and %d", term.Number(), next.Number())
	}
}

// TestATermEndsBeforeAnotherMayBegin: its holder is cut off from the database. By its own clock it ends before the time
// that the database has for it.
func TestATermEndsBeforeAnotherMayBegin(t *testing.T) {
	t.Parallel() // it waits
	address := pgtest.URL(t)
	p := newProxy(t, address)
	cut, other := agent(t, Config{URL: p.URL(), Host: "cut", TTL: 2 * time.Second}), agent(t, Config{URL: address, Host: "other", TTL: 2 * time.Second})
	term := leads(t, cut)
	var ended atomic.Int64
	context.AfterFunc(term.Context(), func() { ended.Store(time.Now().UnixNano()) })
	p.Cut()
	next, err := other.Wait(t.Context())
	must(t, err)
	taken := time.Now()
	releases(t, next)
	if at := ended.Load(); at == 0 || at > taken.UnixNano() {
		t.Errorf("the term ended at %d, and the next began at %d", at, taken.UnixNano())
	}
	if cause := context.Cause(term.Context()); !errors.Is(cause, ErrTermOver) || !strings.Contains(cause.Error(), "could not be renewed for 2s") {
		t.Errorf("it ended for %v", cause)
	}
	p.Heal()
	if err := write(term); !errors.Is(err, ErrTermOver) {
		t.Errorf("once it is back it writes: %v", err)
	}
}

// TestARenewalThatFailsOnceIsMadeAgain: a connection that breaks ends no term.
func TestARenewalThatFailsOnceIsMadeAgain(t *testing.T) {
	t.Parallel() // it waits
	address := pgtest.URL(t)
	p := newProxy(t, address)
	db := agent(t, Config{URL: p.URL(), Host: "a", TTL: 2 * time.Second})
	term := leads(t, db)
	for range 4 {
		p.Break()
		time.Sleep(700 * time.Millisecond)
	}
	if term.Context().Err() != nil {
		t.Errorf("it ended: %v", context.Cause(term.Context()))
	}
	h, err := db.Holder(t.Context())
	if err != nil || h.Left <= 0 || h.Term != term.Number() {
		t.Errorf("the database has %+v, %v", h, err)
	}
}

// TestARenewalFindsOutThatAnotherHasTheTerm: long before its own clock would end it.
func TestARenewalFindsOutThatAnotherHasTheTerm(t *testing.T) {
	t.Parallel() // it waits
	db := agents(t, pgtest.URL(t), 3*time.Second, 1)[0]
	term := leads(t, db)
	must(t, db.ask(t.Context(), nil, roundtrip.Statement{SQL: "update " + db.quoted("holder") + " set holder = '99', until = clock_timestamp() + interval '1 hour'"}))
	<-term.Context().Done()
	if cause := context.Cause(term.Context()); !errors.Is(cause, ErrTermOver) || !strings.Contains(cause.Error(), "another agent has taken over") {
		t.Errorf("it ended for %v", cause)
	}
	must(t, term.Release(t.Context()))
	if h, err := db.Holder(t.Context()); err != nil || h.Left < 50*time.Minute {
		t.Errorf("the term of the other has %v left, %v", h.Left, err)
	}
}

// TestAnAgentWaitsForADatabaseThatIsAway: it says so once, and has the term when the database is back.
func TestAnAgentWaitsForADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	p := newProxy(t, address)
	db := agent(t, Config{URL: p.URL(), Host: "a", TTL: time.Hour})
	var said bytes.Buffer
	db.Config.Log = slog.New(slog.NewTextHandler(&said, nil))
	must(t, p.listener.Close())
	p.Break()
	short, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	if _, err := db.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it waited until %v", err)
	}
	if n := strings.Count(said.String(), "the term cannot be asked for; trying again"); n != 1 {
		t.Errorf("it said so %d times: %s", n, &said)
	}
	p.listen(t)
	term, err := db.Wait(t.Context())
	must(t, err)
	releases(t, term)
}

// TestDoorsAreTheAgentsThatAreConnected: by the host each says it is, and not those of another schema.
func TestDoorsAreTheAgentsThatAreConnected(t *testing.T) {
	address := pgtest.URL(t)
	list := agents(t, address, time.Second, 3)
	agent(t, Config{URL: address})                                // a command
	agent(t, Config{URL: address, Host: "z", Schema: "personas"}) // another store
	agent(t, Config{URL: address, Host: strings.Repeat("long", 30)})
	doors, err := list[0].Doors(t.Context())
	must(t, err)
	if got := strings.Join(doors, " "); got != "a b c "+strings.Repeat("long", 30)[:63-len("personasync@")] {
		t.Errorf("doors: %s", got)
	}
	list[1].Close()
	eventually(t, "a door that closed is gone", func() bool {
		doors, err := list[0].Doors(t.Context())
		must(t, err)
		return len(doors) == 3
	})
}

// TestAServerThatLacksTheTermIsLeftAlone: a primary that stood still while its standby was promoted has only terms of before.
func TestAServerThatLacksTheTermIsLeftAlone(t *testing.T) {
	db := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	term, err := db.Acquire(t.Context())
	must(t, err)
	set := func(n int64) {
		err := db.run(t.Context(), fmt.Sprint("update personasync.term set number = ", n))
		must(t, err)
	}
	if !term.Trusted() {
		t.Error("a term that was just taken does not count")
	}
	past := time.Now().Add(-time.Second)
	now := term.trusted.Swap(&past)
	if term.Trusted() || term.Context().Err() != nil {
		t.Error("a term that is over by the clock counts until its timer strikes")
	}
	term.trusted.Store(now)
	set(term.Number() - 1)
	if c, err := db.connect(t.Context()); err == nil || !strings.Contains(err.Error(), "no longer the primary") {
		closeNow(c)
		t.Errorf("a server without the term: %v", err)
	}
	set(term.Number())
	c, err := db.connect(t.Context())
	must(t, err)
	closeNow(c)
	set(term.Number() - 1)
	must(t, term.Release(t.Context()))
	c, err = db.connect(t.Context())
	must(t, err) // a backup may have been restored
	closeNow(c)
}

// TestADoorTakesOverFromAServerThatStandsStill: its question about the term is never answered, and no connection ends.
func TestADoorTakesOverFromAServerThatStandsStill(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	p := newProxy(t, address)
	writer := leads(t, agents(t, address, 3*time.Second, 1)[0])
	door := agent(t, Config{URL: p.URL(), Host: "door", TTL: 3 * time.Second})
	waited := make(chan *Term, 1)
	asked := make(chan struct{})
	var once sync.Once
	p.Watch(func(b []byte) bool {
		question := strings.Contains(string(b), "until - clock_timestamp()")
		if question {
			once.Do(func() { close(asked) })
		}
		return !question
	})
	go func() {
		if term, err := door.Wait(t.Context()); err == nil {
			waited <- term
		}
	}()
	<-asked
	p.Watch(nil) // new connections reach a server that works
	must(t, writer.Release(t.Context()))
	select {
	case term := <-waited:
		releases(t, term)
	case <-time.After(time.Minute):
		t.Fatal("the door never took over")
	}
}

// TestASchemaThatIsGoneIsNotMadeAgain: what a new store took would go when the backup comes back.
func TestASchemaThatIsGoneIsNotMadeAgain(t *testing.T) {
	both := agents(t, pgtest.URL(t), time.Hour, 2)
	leads(t, both[0])
	if _, err := both[1].Acquire(t.Context()); !errors.Is(err, ErrHeld) {
		t.Fatal(err)
	}
	must(t, both[0].ask(t.Context(), nil, roundtrip.Statement{SQL: "drop schema personasync cascade"}))
	for _, db := range both {
		if _, err := db.Acquire(t.Context()); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("agent %s: %v", db.Host, err)
		}
	}
	if found, err := both[0].Exists(t.Context()); found || err != nil {
		t.Errorf("a store is there: %v, %v", found, err)
	}
}

// TestATermIsNotWaitedForWhereTheServerStandsStill: another server may be the primary by now, and nobody would ask it.
func TestATermIsNotWaitedForWhereTheServerStandsStill(t *testing.T) {
	t.Parallel() // it waits
	p := newProxy(t, pgtest.URL(t))
	db := agent(t, Config{URL: p.URL(), TTL: 200 * time.Millisecond})
	must(t, leads(t, db).Release(t.Context()))
	p.Watch(func(toServer []byte) bool {
		return !bytes.Contains(toServer, []byte("until > clock_timestamp(), false)"))
	})
	if term, err := db.Acquire(t.Context()); err == nil {
		t.Errorf("it has term %d", term.Number())
	}
	p.Watch(nil)
	p.Heal()
	eventually(t, "the term is taken", func() bool {
		term, err := db.Acquire(t.Context())
		return err == nil && term.Release(t.Context()) == nil
	})
}

// TestASchemaThatCannotBeUsedSaysOneThingToDo: a schema of another owner was advised to be made, and then to be given back.
func TestASchemaThatCannotBeUsedSaysOneThingToDo(t *testing.T) {
	admin := agent(t, Config{URL: pgtest.URL(t)})
	must(t, admin.run(t.Context(), `create role guest login; create schema theirs; grant usage on schema theirs to guest;
		create schema used; grant all on schema used to guest; create table used.term (id int)`))
	t.Cleanup(func() { _ = admin.run(context.Background(), "drop owned by guest; drop role guest") })
	for schema, want := range map[string]string{"none": `CREATE SCHEMA "none" AUTHORIZATION "guest"`, "theirs": `GRANT ALL ON SCHEMA "theirs" TO "guest"`, "used": "store.schema"} {
		db := agent(t, Config{URL: strings.Replace(admin.URL, "postgres@", "guest@", 1), Schema: schema})
		_, err := db.Acquire(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "rights back") {
			t.Errorf("%s: %v", schema, err)
		}
		db.Close()
	}
}

// TestABackupOfTheSameTermEndsIt: the agent that went on took the numbers of new records for those that it had applied already, and
// never applied what it had answered with 200.
func TestABackupOfTheSameTermEndsIt(t *testing.T) {
	db := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	term := created(t, db)
	write := func() error { return term.fenced(t.Context(), func(*pgconn.PgConn) error { return nil }) }
	must(t, write())
	must(t, db.run(t.Context(), `create table personasync.restored (like personasync.term including all); insert into personasync.restored select * from personasync.term;
		drop table personasync.term; alter table personasync.restored rename to term`))
	if err := write(); !errors.Is(err, ErrTermOver) {
		t.Errorf("a transaction on an older store: %v", err)
	}

	db = agents(t, pgtest.URL(t), time.Second, 1)[0]
	term = leads(t, db)
	must(t, db.run(t.Context(), "update personasync.holder set until = until - interval '1 minute'"))
	<-term.Context().Done()
	if err := context.Cause(term.Context()); !errors.Is(err, ErrTermOver) || !strings.Contains(err.Error(), "a backup was restored") {
		t.Errorf("a renewal on an older store: %v", err)
	}
	leads(t, db)
}
