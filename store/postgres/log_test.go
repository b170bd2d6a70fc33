package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
	"personasync/store/postgres/internal/roundtrip"
	"personasync/store/postgres/pgtest"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// event is a record of a user, received at noon.
func event(user string) []byte {
	return record.AppendEvent(nil, &domain.Event{User: domain.Identifier{ID: user}, MessageID: "m", Call: domain.CallIdentify, Class: domain.ClassAudience, Key: "vip", Flag: domain.FlagIn, Raw: []byte("{}"), Received: noon, Time: noon})
}

// created makes a store without a state, of db under a term.
func created(t testing.TB, db *DB) *Term {
	t.Helper()
	term := leads(t, db)
	must(t, term.fenced(t.Context(), func(conn *pgconn.PgConn) error { return conn.Exec(t.Context(), db.tables(nil)).Close() }))
	return term
}

func openLog(t testing.TB, db *DB, first uint64, term *Term) *Log {
	t.Helper()
	in, err := db.Log(first, term)
	must(t, err)
	t.Cleanup(func() {
		in.Stop()
		in.CloseFiles()
	})
	return in
}

// inbox is a new one of one agent, which has the term.
func inbox(t testing.TB) (*Log, *Term) {
	t.Helper()
	db := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	term := created(t, db)
	return openLog(t, db, 1, term), term
}

// usersIn reads all records from a number on, in portions.
func usersIn(t testing.TB, in *Log, from uint64, maxBytes int) (users []string) {
	t.Helper()
	for {
		records, err := in.Read(from, maxBytes)
		must(t, err)
		if len(records) == 0 {
			return users
		}
		for _, r := range records {
			if r.Seq != from {
				t.Fatalf("record %d was read for %d", r.Seq, from)
			}
			from++
			rec, err := record.DecodeRecord(r.Seq, r.Frame)
			must(t, err)
			users = append(users, rec.Event.User.ID)
		}
	}
}

// TestAppendsOfThreeDoors: many callers at each of three agents. The numbers have no gaps, each record is there once, and
// what one caller appended is in its order.
func TestAppendsOfThreeDoors(t *testing.T) {
	address := pgtest.URL(t)
	doors := agents(t, address, time.Hour, 3)
	term := created(t, doors[0])
	logs := []*Log{openLog(t, doors[0], 1, term), openLog(t, doors[1], 0, nil), openLog(t, doors[2], 0, nil)}
	const callers, each = 16, 25
	var all sync.WaitGroup
	for d, in := range logs {
		for c := range callers {
			all.Go(func() {
				for i := range each {
					if err := in.Append(t.Context(), event(fmt.Sprintf("%d/%d %02d a", d, c, i)), event(fmt.Sprintf("%d/%d %02d b", d, c, i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	const total = 3 * callers * each * 2
	eventually(t, "the writer has seen all records", func() bool { return logs[0].Last() == total })
	if n := logs[0].Events(); n < total {
		t.Errorf("the writer counted %d events, of %d", n, total)
	}
	users := usersIn(t, logs[0], 1, 4<<10)
	if len(users) != total {
		t.Fatalf("%d records, want %d", len(users), total)
	}
	of := map[string][]string{}
	for _, u := range users {
		caller, rest, _ := strings.Cut(u, " ")
		of[caller] = append(of[caller], rest)
	}
	for caller, list := range of {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != 2*each {
			t.Errorf("caller %s: %v", caller, list)
		}
	}
	eventually(t, "another agent has seen all records", func() bool { return logs[2].Last() == total })
	if again := usersIn(t, logs[2], 1, 1<<20); !slices.Equal(again, users) {
		t.Error("another agent reads something else")
	}
}

// TestTheWriterLearnsOfRecordsOfOthers: without being told.
func TestTheWriterLearnsOfRecordsOfOthers(t *testing.T) {
	both := agents(t, pgtest.URL(t), time.Hour, 2)
	writer := openLog(t, both[0], 1, created(t, both[0]))
	door := openLog(t, both[1], 0, nil)
	must(t, door.Append(t.Context(), event("ann"), event("bob")))
	select {
	case <-writer.Written():
	case <-time.After(time.Minute):
		t.Fatal("the writer heard nothing")
	}
	if writer.Last() != 2 || writer.Next() != 3 || writer.Events() != 2 || writer.First() != 1 {
		t.Errorf("last %d, next %d, %d events, first %d", writer.Last(), writer.Next(), writer.Events(), writer.First())
	}
	must(t, writer.Append(t.Context(), event("cid")))
	if writer.Last() != 3 || writer.Events() != 3 {
		t.Errorf("last %d, %d events", writer.Last(), writer.Events())
	}
	must(t, door.Append(t.Context(), event("dan")))
	if door.Last() != 4 {
		t.Errorf("at the door, the last is %d", door.Last())
	}
	eventually(t, "the door counts what came between", func() bool { return door.Events() == 4 })
}

// TestNothingIsReadBehindTheLast: the writer takes Next for the record that it has to read next once it has read all.
func TestNothingIsReadBehindTheLast(t *testing.T) {
	both := agents(t, pgtest.URL(t), time.Hour, 2)
	writer := openLog(t, both[0], 1, created(t, both[0]))
	door := openLog(t, both[1], 0, nil)
	must(t, writer.Append(t.Context(), event("bob")))
	for range 30 {
		must(t, door.Append(t.Context(), event("ann")))
		records, err := writer.Read(1, 1<<20)
		must(t, err)
		if n := len(records); n > 0 && records[n-1].Seq > writer.Last() {
			t.Fatalf("record %d was read, and the last is %d", records[n-1].Seq, writer.Last())
		}
	}
}

// TestAnInboxCanBeReadFromAnywhere: from the middle of a commit too, in portions that are about as large as asked.
func TestAnInboxCanBeReadFromAnywhere(t *testing.T) {
	in, _ := inbox(t)
	var want []string
	for i := range 5 {
		frames := [][]byte{}
		for j := range 40 {
			want = append(want, fmt.Sprintf("%d-%d", i, j))
			frames = append(frames, event(want[len(want)-1]))
		}
		must(t, in.Append(t.Context(), frames...))
	}
	for _, from := range []uint64{1, 2, 40, 41, 60, 200} {
		if got := usersIn(t, in, from, 1<<20); !slices.Equal(got, want[from-1:]) {
			t.Errorf("from %d: %v", from, got)
		}
	}
	one, err := in.Read(60, 1)
	if err != nil || len(one) != 1 || one[0].Seq != 60 {
		t.Errorf("one record of the middle: %v, %v", one, err)
	}
	few, err := in.Read(5, 10*len(event("0-00")))
	if err != nil || len(few) < 9 || len(few) > 11 {
		t.Errorf("ten records: %d, %v", len(few), err)
	}
	if none, err := in.Read(201, 1<<20); err != nil || len(none) > 0 {
		t.Errorf("behind the last: %v, %v", none, err)
	}
	if !in.Spans(1) || !in.Spans(200) || in.Spans(201) || in.Spans(0) {
		t.Error("it does not know what it spans")
	}
}

// TestAnInboxGoesOnBehindReservedNumbers: a store that was moved here has no records, and those to come follow the
// applied ones.
func TestAnInboxGoesOnBehindReservedNumbers(t *testing.T) {
	db := agents(t, pgtest.URL(t), time.Hour, 1)[0]
	term := created(t, db)
	const applied = 5*perPartition - 2
	in := openLog(t, db, applied+1, term)
	if in.Next() != applied+1 || in.First() != 0 {
		t.Errorf("next %d, first %d", in.Next(), in.First())
	}
	for _, user := range []string{"ann", "bob", "cid"} { // into the next partition
		must(t, in.Append(t.Context(), event(user)))
	}
	in = openLog(t, db, 1, term)
	if in.Next() != applied+4 || in.First() != applied+1 {
		t.Errorf("opened again: next %d, first %d", in.Next(), in.First())
	}
	if got := usersIn(t, in, applied+1, 1<<20); !slices.Equal(got, []string{"ann", "bob", "cid"}) {
		t.Errorf("read %v", got)
	}
	finished, commits := in.Finished(), in.Commits()
	must(t, in.Probe(t.Context()))
	if in.Finished() != finished+1 || in.Commits() != commits || in.Next() != applied+4 {
		t.Errorf("after a probe %d transactions ended and %d had records, next %d", in.Finished(), in.Commits(), in.Next())
	}
	must(t, in.Trim(applied+3, noon.Add(time.Hour), time.Minute, 1))
	if in.First() != applied+3 {
		t.Errorf("first %d", in.First())
	}
}

// putRow inserts a row as an append of many records would have.
func putRow(t testing.TB, in *Log, first, last uint64, received time.Time) {
	t.Helper()
	must(t, in.db.ask(t.Context(), nil, roundtrip.Statement{
		SQL:    "insert into " + in.table() + " values ($1, $2, $3, $4)",
		Params: [][]byte{roundtrip.Number(first), roundtrip.Number(last), roundtrip.Number(received.UnixNano()), wire.AppendBytes(nil, event("ann"))},
		Types:  []uint32{roundtrip.TypeNumber, roundtrip.TypeNumber, roundtrip.TypeNumber, roundtrip.TypeBytea}}))
	must(t, in.look(t.Context()))
}

// tables lists the partitions that there are.
func (in *Log) tables(t testing.TB) (list []int64) {
	c, err := in.db.pool.Acquire(t.Context())
	must(t, err)
	defer c.Release()
	sizes, err := in.partitions(t.Context(), c.Value())
	must(t, err)
	for _, s := range sizes {
		list = append(list, s.number)
	}
	return list
}

// TestTrim: applied records go once they are old or too many, whole partitions at once. The newest row stays.
func TestTrim(t *testing.T) {
	in, _ := inbox(t)
	if got := in.tables(t); !slices.Equal(got, []int64{0, 1, 2}) {
		t.Fatalf("a new inbox has the partitions %v", got)
	}
	putRow(t, in, 1, 10, noon)
	putRow(t, in, 11, perPartition+4, noon.Add(time.Hour)) // it reaches into the second partition
	putRow(t, in, perPartition+5, perPartition+9, noon.Add(2*time.Hour))
	putRow(t, in, perPartition+10, 2*perPartition-1, noon.Add(3*time.Hour))
	eventually(t, "partitions are made ahead", func() bool { return slices.Equal(in.tables(t), []int64{0, 1, 2, 3}) })
	putRow(t, in, 2*perPartition, 2*perPartition+8, noon.Add(4*time.Hour))
	eventually(t, "partitions are made ahead", func() bool { return slices.Equal(in.tables(t), []int64{0, 1, 2, 3, 4}) })
	for _, step := range []struct {
		applied uint64
		now     time.Duration
		keepFor time.Duration
		bytes   int64
		first   uint64
		left    []int64
		why     string
	}{
		{3 * perPartition, 99 * time.Hour, 0, 0, 1, []int64{0, 1, 2, 3, 4}, "nothing is to be removed"},
		{9, 99 * time.Hour, time.Hour, 1, 1, []int64{0, 1, 2, 3, 4}, "a record of the first row is not applied"},
		{3 * perPartition, 90 * time.Minute, time.Hour, 0, 11, []int64{0, 1, 2, 3, 4}, "the first row is old"},
		{perPartition + 3, 99 * time.Hour, time.Hour, 1, 11, []int64{0, 1, 2, 3, 4}, "a record of a row that began in the first partition is not applied"},
		{perPartition + 4, 99 * time.Hour, 0, 1, perPartition + 5, []int64{1, 2, 3, 4}, "the first partition is too much"},
		{perPartition + 9, 99 * time.Hour, time.Hour, 0, perPartition + 10, []int64{1, 2, 3, 4}, "a row of the second partition is old and applied"},
		{3 * perPartition, 99 * time.Hour, time.Hour, 1, 2 * perPartition, []int64{2, 3, 4}, "all but the newest row goes"},
		{3 * perPartition, 99 * time.Hour, time.Hour, 1, 2 * perPartition, []int64{2, 3, 4}, "the newest row stays"},
	} {
		must(t, in.Trim(step.applied, noon.Add(step.now), step.keepFor, step.bytes))
		if got := in.tables(t); in.First() != step.first || !slices.Equal(got, step.left) {
			t.Errorf("%s: first %d in %v, want %d in %v", step.why, in.First(), got, step.first, step.left)
		}
	}
	must(t, in.Append(t.Context(), event("bob")))
	if in.Last() != 2*perPartition+9 {
		t.Errorf("the next record got number %d", in.Last())
	}
}

// TestOnlyTheWriterLooksAfterTheInbox: an agent without the term, or whose term is over, removes nothing.
func TestOnlyTheWriterLooksAfterTheInbox(t *testing.T) {
	in, term := inbox(t)
	must(t, in.Append(t.Context(), event("ann")))
	must(t, in.Append(t.Context(), event("bob")))
	door := openLog(t, in.db, 0, nil)
	if err := door.Trim(1, noon.Add(time.Hour), time.Minute, 1); !errors.Is(err, ErrNotWriter) {
		t.Errorf("a door trims: %v", err)
	}
	if _, err := door.Rewrite(t.Context(), func(f [][]byte) (uint64, error) { return 1, nil }); !errors.Is(err, ErrNotWriter) {
		t.Errorf("a door rewrites: %v", err)
	}
	must(t, in.db.ask(t.Context(), nil, roundtrip.Statement{SQL: "update " + in.db.quoted("term") + " set number = number + 1"})) // another took over, and this one does not know
	if err := in.Trim(1, noon.Add(time.Hour), time.Minute, 1); !errors.Is(err, ErrTermOver) {
		t.Errorf("after its term an agent trims: %v", err)
	}
	if _, err := in.Rewrite(t.Context(), func(f [][]byte) (uint64, error) { return 1, nil }); !errors.Is(err, ErrTermOver) {
		t.Errorf("after its term an agent rewrites: %v", err)
	}
	if err := in.extend(t.Context(), term); err != nil {
		t.Errorf("there was nothing to make: %v", err)
	}
	in.made = 0
	if err := in.extend(t.Context(), term); !errors.Is(err, ErrTermOver) {
		t.Errorf("after its term an agent makes partitions: %v", err)
	}
	must(t, door.Append(t.Context(), event("cid"))) // a door needs no term
	if got := usersIn(t, door, 1, 1<<20); !slices.Equal(got, []string{"ann", "bob", "cid"}) {
		t.Errorf("read %v", got)
	}
}

// TestADoorAheadOfThePartitionsSaysWhy: more events than can be written are not the reason, nothing is lost, and once they are made
// it goes on.
func TestADoorAheadOfThePartitionsSaysWhy(t *testing.T) {
	writer, term := inbox(t)
	writer.CloseFiles()
	in := openLog(t, writer.db, 1, nil)
	putRow(t, in, 1, 3*perPartition-1, noon)
	err := in.Append(t.Context(), event("ann"))
	if err == nil || errors.Is(err, domain.ErrBusy) || !strings.Contains(err.Error(), "before an agent holds the term") {
		t.Fatalf("it answers %v", err)
	}
	openLog(t, writer.db, 1, term)
	eventually(t, "partitions are made", func() bool { return in.Append(t.Context(), event("bob")) == nil })
	if got := usersIn(t, in, 3*perPartition, 1<<20); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("read %v", got)
	}
}

// TestAnAppendBehindALockSaysWhy: it was reported as more events than can be written.
func TestAnAppendBehindALockSaysWhy(t *testing.T) {
	t.Parallel()
	in, _ := inbox(t)
	must(t, in.Append(t.Context(), event("ann")))
	c, err := in.db.connect(t.Context())
	must(t, err)
	defer closeNow(c)
	must(t, c.Exec(t.Context(), "begin; lock table "+in.table()+" in access exclusive mode").Close())
	if err := in.Append(t.Context(), event("bob")); err == nil || errors.Is(err, domain.ErrBusy) || !strings.Contains(err.Error(), "locked in PostgreSQL") {
		t.Errorf("it answers %v", err)
	}
}

// TestAgentsAppendWhateverTheAdministratorHasSet: under another isolation an append does not see what was committed while it waited.
func TestAgentsAppendWhateverTheAdministratorHasSet(t *testing.T) {
	t.Parallel() // it waits
	in, _ := inbox(t)
	var database string
	must(t, in.db.ask(t.Context(), func(_ int, v [][]byte) { database = string(v[0]) }, roundtrip.Statement{SQL: "select current_database()"}))
	for _, setting := range []string{"default_transaction_isolation = 'serializable'", "idle_session_timeout = '500ms'", "search_path = 'nowhere'", "bytea_output = 'escape'"} {
		if err := in.db.run(t.Context(), "alter database "+database+" set "+setting); err != nil && roundtrip.Code(err) != roundtrip.StateUnknownSetting { // of a later version
			t.Fatal(err)
		}
	}
	in.db.pool.Reset()
	other := openLog(t, agent(t, Config{URL: in.db.URL}), 1, nil)
	var appends sync.WaitGroup
	for _, door := range []*Log{in, other} {
		appends.Go(func() {
			for n := range 200 {
				if n == 100 {
					time.Sleep(600 * time.Millisecond) // idle for longer than the database lets a session be
				}
				if err := door.Append(t.Context(), event("ann")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	appends.Wait()
}

// TestRecordsThatTheServerLostAreAnError: as after a failover to a standby that had not confirmed them. Others get their
// numbers, and are read.
func TestRecordsThatTheServerLostAreAnError(t *testing.T) {
	in, _ := inbox(t)
	for _, user := range []string{"ann", "bob", "cid"} {
		must(t, in.Append(t.Context(), event(user)))
	}
	for left := range uint64(3) {
		left = 2 - left
		must(t, in.db.run(t.Context(), fmt.Sprint("delete from personasync.records where first > ", left)))
		_, err := in.Read(left+1, 1<<20)
		if want := fmt.Sprintf("record %d was there and is no more", left+1); err == nil || !strings.Contains(err.Error(), want) || in.Last() != left {
			t.Errorf("with %d records left: %v, and the last one is %d", left, err, in.Last())
		}
	}
	must(t, in.Append(t.Context(), event("dan")))
	if got := usersIn(t, in, 1, 1<<20); !slices.Equal(got, []string{"dan"}) {
		t.Errorf("read %v", got)
	}
}

// TestRewrite: the records of a user go, and the others stay as they were.
func TestRewrite(t *testing.T) {
	in, _ := inbox(t)
	for _, users := range [][]string{{"ann", "bob"}, {"cid"}, {"bob", "bob", "dan"}} {
		frames := [][]byte{}
		for _, u := range users {
			frames = append(frames, event(u))
		}
		must(t, in.Append(t.Context(), frames...))
	}
	n, err := in.Rewrite(t.Context(), func(frames [][]byte) (edited uint64, err error) {
		for i, f := range frames {
			if rec, err := record.DecodeRecord(0, f); err == nil && rec.Event.User.ID == "bob" {
				frames[i] = event("nobody")
				edited++
			}
		}
		return edited, nil
	})
	if err != nil || n != 3 {
		t.Errorf("%d records rewritten, %v", n, err)
	}
	if got := usersIn(t, in, 1, 1); !slices.Equal(got, []string{"ann", "nobody", "cid", "nobody", "nobody", "dan"}) {
		t.Errorf("read %v", got)
	}
}

// TestACommitWithoutAnAnswerIsInDoubt: the network breaks after the append was sent, at any piece of it, or swallows the
// answer. The caller is not told of success or failure, and the numbers go on without a gap.
func TestACommitWithoutAnAnswerIsInDoubt(t *testing.T) {
	address := pgtest.URL(t)
	p := newProxy(t, address)
	db := agent(t, Config{URL: address, Host: "writer", TTL: time.Hour})
	in := openLog(t, db, 1, created(t, db))
	door := openLog(t, agent(t, Config{URL: p.URL(), Host: "door"}), 0, nil)
	must(t, door.Append(t.Context(), event("ann")))
	var breaks sync.Once
	broken := make(chan struct{})
	p.Watch(func(b []byte) bool {
		if strings.Contains(string(b), "append_1") {
			breaks.Do(func() { go func() { p.Break(); close(broken) }() }) // while the server commits
		}
		return true
	})
	err := door.Append(t.Context(), event("bob"))
	doubt := new(engine.DoubtError)
	if err != nil && !errors.As(err, &doubt) {
		t.Errorf("the append ended with %v, which says that nothing is written", err)
	}
	p.Watch(nil)
	<-broken // else it leaves the next append in doubt, which is then made twice
	eventually(t, "the door goes on", func() bool { return door.Append(t.Context(), event("cid")) == nil })
	eventually(t, "the writer sees it", func() bool { return in.Last() == door.Last() })
	got := usersIn(t, in, 1, 1<<20)
	if got[0] != "ann" || !slices.Contains(got, "cid") || len(got) > 3 { // bob may come late: the server did not know that nobody listens
		t.Errorf("read %v", got)
	}

	given, give := context.WithCancel(t.Context())
	p.Watch(func(b []byte) bool { // nothing arrives, and nobody says so
		if !strings.Contains(string(b), "append_1") {
			return true
		}
		give()
		return false
	})
	if err := door.Append(given, event("dan")); !errors.As(err, &doubt) {
		t.Errorf("an append without an answer ended with %v", err)
	}
	p.Watch(nil)
	p.Break()
	eventually(t, "the door goes on", func() bool { return door.Append(t.Context(), event("eve")) == nil })
}

// TestACancelledWaitForTheStandbyIsNoSuccess: the standby is gone, an administrator cancels the statement that waits for
// it, and PostgreSQL answers the commit with success and a warning.
func TestACancelledWaitForTheStandbyIsNoSuccess(t *testing.T) {
	t.Parallel()
	pair := pgtest.NewPair(t)
	u, err := url.Parse(pair.Primary.URL())
	must(t, err)
	db, err := Connect(t.Context(), Config{URL: u.String(), Host: "a", TTL: time.Hour, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(db.Close)
	in := openLog(t, db, 1, created(t, db))
	must(t, in.Append(t.Context(), event("ann")))
	pair.Standby.Stop(t)
	answered := make(chan error, 1)
	go func() { answered <- in.Append(context.Background(), event("bob")) }()
	eventually(t, "the append waits for the standby, and is cancelled", func() bool {
		return pair.Primary.SQL(t, "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep' and query like '%append_1%'") != "0"
	})
	err = <-answered
	doubt := new(engine.DoubtError)
	if !errors.As(err, &doubt) || !strings.Contains(err.Error(), "synchronous replication") {
		t.Errorf("the append ended with %v", err)
	}
	if err := in.db.ask(t.Context(), nil, roundtrip.Statement{SQL: "select 1"}); err != nil {
		t.Error(err)
	}
	pair.Standby.Start(t)
	must(t, in.Append(t.Context(), event("cid")))
	if got := usersIn(t, in, 1, 1<<20); !slices.Equal(got, []string{"ann", "bob", "cid"}) {
		t.Errorf("read %v", got)
	}
}

// TestAFailoverLosesNothingThatWasConfirmed: the primary is killed while two agents append, and the standby promoted. What
// was acknowledged is there once and in order, what was refused is not there, and the next term begins.
func TestAFailoverLosesNothingThatWasConfirmed(t *testing.T) {
	pair := pgtest.NewPair(t)
	connect := func(host string) *DB {
		db, err := Connect(t.Context(), Config{URL: pair.URL(), Host: host, TTL: 2 * time.Second, Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		t.Cleanup(db.Close)
		return db
	}
	doors := []*DB{connect("a"), connect("b")}
	term := created(t, doors[0])
	logs := []*Log{openLog(t, doors[0], 1, term), openLog(t, doors[1], 0, nil)}
	var mu sync.Mutex
	confirmed, refused := map[string]bool{}, map[string]bool{}
	var stopped atomic.Bool
	var callers sync.WaitGroup
	for d, in := range logs {
		for c := range 8 {
			callers.Go(func() {
				for i := 0; !stopped.Load(); i++ {
					user := fmt.Sprintf("%d/%d %06d", d, c, i)
					err := in.Append(t.Context(), event(user))
					doubt := new(engine.DoubtError)
					mu.Lock()
					switch {
					case err == nil:
						confirmed[user] = true
					case !errors.As(err, &doubt):
						refused[user] = true
					}
					mu.Unlock()
					if err != nil {
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
	}
	reach := func(more int) {
		was := 0
		eventually(t, "appends are confirmed", func() bool {
			mu.Lock()
			defer mu.Unlock()
			was = cmp.Or(was, len(confirmed))
			return len(confirmed) >= was+more
		})
	}
	reach(200)
	pair.Primary.Kill(t)
	pair.Standby.Promote(t)
	reach(200)
	stopped.Store(true)
	callers.Wait()
	must(t, logs[0].look(t.Context()))
	users := usersIn(t, logs[0], 1, 1<<20)
	found, newest := map[string]bool{}, map[string]string{}
	for _, u := range users {
		caller, i, _ := strings.Cut(u, " ")
		if found[u] || i <= newest[caller] {
			t.Errorf("%s comes twice, or behind a later one", u)
		}
		found[u], newest[caller] = true, i
		if refused[u] {
			t.Errorf("%s was refused and is there", u)
		}
	}
	for u := range confirmed {
		if !found[u] {
			t.Errorf("%s was confirmed and is lost", u)
		}
	}
	must(t, term.Release(t.Context()))
	next, err := doors[1].Wait(t.Context())
	if err == nil {
		releases(t, next)
		err = write(next)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestRecordsThatTheServerLostAreNotReadForEver: it came back without commits that it had confirmed, and their numbers go
// to other records.
func TestRecordsThatTheServerLostAreNotReadForEver(t *testing.T) {
	in, _ := inbox(t)
	must(t, in.Append(t.Context(), event("ann")))
	must(t, in.Append(t.Context(), event("bob")))
	must(t, in.db.ask(t.Context(), nil, roundtrip.Statement{SQL: "delete from " + in.table() + " where first = 2"}))
	if _, err := in.Read(2, 1<<20); err == nil || errors.Is(err, wire.ErrDamaged) || !strings.Contains(err.Error(), "lost commits") {
		t.Errorf("read: %v", err)
	}
	if in.Next() != 2 {
		t.Errorf("next %d", in.Next())
	}
	must(t, in.Append(t.Context(), event("cid")))
	if got := usersIn(t, in, 1, 1<<20); !slices.Equal(got, []string{"ann", "cid"}) {
		t.Errorf("read %v", got)
	}
}

// TestADoorKnowsThatTheDatabaseIsAway without any append, so that a load balancer leaves it out.
func TestADoorKnowsThatTheDatabaseIsAway(t *testing.T) {
	address := pgtest.URL(t)
	created(t, agents(t, address, time.Hour, 1)[0])
	p := newProxy(t, address)
	door := openLog(t, agent(t, Config{URL: p.URL(), Host: "door"}), 0, nil)
	if err := door.Away(); err != nil {
		t.Fatal(err)
	}
	p.listener.Close()
	p.Break()
	eventually(t, "the door says that the database is away", func() bool { return door.Away() != nil })
	if err := door.Away(); !strings.Contains(err.Error(), "PostgreSQL cannot be used") {
		t.Error(err)
	}
}

// TestAUserWhoMayNotAppendIsFoundBeforeADelivery: a door whose role could only read was ready until its first delivery failed.
func TestAUserWhoMayNotAppendIsFoundBeforeADelivery(t *testing.T) {
	server := pgtest.NewServer(t, "host all all 127.0.0.1/32 trust", nil)
	address := func(user string) string {
		return "postgres://" + user + "@" + server.Address() + "/postgres?sslmode=disable"
	}
	owner := agents(t, address("postgres"), time.Hour, 1)[0]
	openLog(t, owner, 1, created(t, owner))
	server.SQL(t, `create role reader login; grant usage on schema personasync to reader; grant select on all tables in schema personasync to reader;
		revoke execute on function personasync.append_1 from public`)
	door := openLog(t, agents(t, address("reader"), time.Hour, 1)[0], 0, nil)
	err := door.Away()
	if err == nil {
		t.Fatal("nothing is said of a user who may not append")
	}
	for _, part := range []string{`GRANT INSERT ON "personasync"."records" TO reader`, `GRANT UPDATE ON "personasync"."append_lock" TO reader`, `GRANT EXECUTE ON FUNCTION "personasync"."append_1"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v\ndoes not say %s", err, part)
		}
	}
	_, grants, _ := strings.Cut(err.Error(), " run: ")
	server.SQL(t, grants)
	for deadline := time.Now().Add(10 * time.Second); door.Away() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after these grants: %v", door.Away())
		}
	}
	must(t, door.Append(t.Context(), event("ann")))
	server.SQL(t, "revoke insert on personasync.records from reader")
	for deadline := time.Now().Add(10 * time.Second); door.Away() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a right that was taken away is not found")
		}
	}
}

// TestReadersGiveTheirConnectionsToAnAppend: where PostgreSQL had none left deliveries were answered with 503, and readers kept theirs.
func TestReadersGiveTheirConnectionsToAnAppend(t *testing.T) {
	server := pgtest.NewServer(t, "host all all 127.0.0.1/32 trust", nil)
	address := func(user string) string {
		return "postgres://" + user + "@" + server.Address() + "/postgres?sslmode=disable"
	}
	owner := agents(t, address("postgres"), time.Hour, 1)[0]
	openLog(t, owner, 1, created(t, owner))
	server.SQL(t, "create role few login connection limit 3; grant all on schema personasync to few; grant all on all tables in schema personasync to few")
	db := agents(t, address("few"), time.Hour, 1)[0]
	in := openLog(t, db, 0, nil)
	var readers []*pooled
	for range 3 {
		c, err := db.pool.Acquire(t.Context())
		must(t, err)
		readers = append(readers, c)
	}
	for _, c := range readers {
		c.Release()
	}
	must(t, in.Append(t.Context(), event("ann")))
	if c, err := db.pool.Acquire(t.Context()); err != nil {
		t.Errorf("a reader beside the append: %v", err)
	} else {
		c.Release()
	}
}
