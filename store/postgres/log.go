package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/engine"
	"personasync/store/internal/groupcommit"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
	"personasync/store/postgres/internal/roundtrip"
)

// Log is the inbox: numbered records, to which every agent appends. All methods may be called concurrently.
//
// Each commit of an agent is one row of the table records: the numbers of its first and last record, the receipt of its
// newest event, and the frames. An append locks the row of append_lock, takes the number behind the last one, and keeps
// the lock until it is committed. So numbers have no gaps and are in the order of the commits. They never start again:
// the newest row stays. A row with an empty chunk keeps only its number.
//
// The table is partitioned by number. The agent that holds the term makes partitions ahead and drops old ones. There is no
// default partition: it would have to be searched for every one that is made.
//
// Its many fields have three owners, who stand beside them: the commit lock, mu, and watch.
type Log struct {
	*groupcommit.Committer
	db   *DB
	term *Term                 // nil: another agent looks after the partitions
	stop sync.Once             // of Stop
	end  context.CancelFunc    // ends watch
	life context.Context       // of appends …
	cut  context.CancelFunc    // … and its end
	over chan struct{}         // closed when watch has ended
	away atomic.Pointer[error] // see Away

	under atomic.Pointer[context.CancelFunc] // ends the append under way; nil: none is

	conn *pgconn.PgConn // of the appends, whom no reader must keep waiting; nil: none. It and buf are under the commit lock
	buf  []byte

	moves int64 // of the dialer, when conn was looked at last; under the commit lock

	mu     sync.Mutex
	oldest uint64 // first record kept, 0 without any
	row    uint64 // first number of the newest row
	last   uint64 // last number of it

	// What follows belongs to watch.

	made   int64     // partitions below this one are known to exist
	barred *error    // why this user may not append; nil: it may
	asked  time.Time // when that was asked
}

const (
	// perPartition is how many records a partition has, and the most that a row has.
	perPartition = 1 << 20

	// ahead is how many partitions there are behind the one that is written to.
	ahead = 2

	// appendPatience is how long an append may take. It is longer than one waits for the lock. An append whose answer was
	// lost may still be committed behind a later one; its sender was told to send it again, and the times of events decide.
	appendPatience = 15 * time.Second

	// hurry is how long an append may take when the role of an agent ends. It takes milliseconds of a server that answers.
	hurry = time.Second

	// A writer looks for the records of others this often: while records come, and while none do. Other agents need
	// the number of the last one only to show it.
	pollBusy = 20 * time.Millisecond
	pollIdle = 100 * time.Millisecond
	pollDoor = time.Second
)

// Log opens the inbox. Under a term it makes partitions, and the next record gets number first at least. CloseFiles closes
// it.
func (db *DB) Log(first uint64, t *Term) (*Log, error) {
	in := &Log{db: db, term: t, over: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), roundtrip.Patience)
	defer cancel()
	if err := in.look(ctx); err != nil {
		return nil, fmt.Errorf("open the inbox: %w", roundtrip.Explain(err))
	}
	if t != nil {
		if err := in.begin(ctx, t, first); err != nil {
			return nil, fmt.Errorf("open the inbox: %w", err)
		}
	}
	if err := errors.Join(in.findOldest(ctx), in.askRights(ctx)); err != nil {
		return nil, fmt.Errorf("open the inbox: %w", err)
	}
	in.away.Store(in.barred)
	in.Committer = groupcommit.New(groupcommit.Config{Commit: in.commit, Apart: true})
	ctx, in.end = context.WithCancel(context.Background())
	in.life, in.cut = context.WithCancel(context.Background())
	go in.watch(ctx)
	return in, nil
}

// Connect opens the connection of the appends. A caller that does so before the first append has it before readers may have the
// last one that the server gives.
func (in *Log) Connect(ctx context.Context) (err error) {
	in.moves = in.db.pool.moves.Load()
	in.conn, err = in.db.connect(ctx)
	return err
}

// begin makes the first partitions, and reserves the numbers before first: those of records that are applied, of which a
// store that was moved here brings none.
func (in *Log) begin(ctx context.Context, t *Term, first uint64) error {
	reserves := first > in.last+1
	if reserves {
		in.row, in.last = first-1, first-1
	}
	err := in.extend(ctx, t)
	if err == nil && reserves {
		err = t.fenced(ctx, func(conn *pgconn.PgConn) error {
			return roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "insert into " + in.table() + " values ($1, $1, 0, '')", Params: [][]byte{roundtrip.Number(in.last)}, Types: []uint32{roundtrip.TypeNumber}})
		})
	}
	return err
}

func (in *Log) table() string { return in.db.quoted("records") }

// leading returns the term under which this agent looks after the inbox, nil without one.
func (in *Log) leading() *Term {
	if in.term != nil && in.term.life.Err() != nil {
		return nil
	}
	return in.term
}

// commit appends a group in one round trip. It is durable once the server says so without a warning.
func (in *Log) commit(group groupcommit.Group) error {
	ctx, cancel := context.WithTimeout(in.life, appendPatience)
	defer cancel()
	in.under.Store(&cancel)
	defer in.under.Store(nil)
	many, newest := in.encode(group)
	if many > perPartition {
		return fmt.Errorf("%d records are too many for one append: append at most %d at a time", many, perPartition)
	}
	if in.db.pool.moves.Load() != in.moves {
		closeNow(in.conn)
		in.conn = nil
	}
	if in.conn == nil {
		if err := in.Connect(ctx); err != nil {
			return err
		}
	}
	conn, first := in.conn, uint64(0)
	_ = roundtrip.Warned(conn) // of before
	err := roundtrip.Send(ctx, conn, func(_ int, v [][]byte) { first = uint64(roundtrip.Integer(v[0])) }, roundtrip.Statement{
		SQL:    "select " + in.db.quoted("append_1") + "($1, $2, $3, $4)",
		Params: [][]byte{roundtrip.Number(in.newestRow()), roundtrip.Number(many), roundtrip.Number(newest), in.buf},
		Types:  []uint32{roundtrip.TypeNumber, roundtrip.TypeNumber, roundtrip.TypeNumber, roundtrip.TypeBytea}})
	if err == nil {
		if err = roundtrip.Warned(conn); err != nil {
			err = &engine.DoubtError{Cause: fmt.Errorf("write the inbox: %w", err)}
		}
	} else {
		err = appendError(err)
	}
	if err != nil {
		closeNow(in.conn)
		in.conn = nil
		in.db.pool.doubt()
		return err
	}
	if many > 0 {
		in.advance(first, first+uint64(many)-1, uint64(many))
	}
	return nil
}

// encode makes the chunk of a group in buf. It returns how many records it has, and the receipt of the newest.
func (in *Log) encode(group groupcommit.Group) (many, newest int64) {
	in.buf = in.buf[:0]
	for _, req := range group {
		many += int64(len(req.Frames))
		for _, f := range req.Frames {
			newest = record.InboxRecords.Received(f, newest)
			in.buf = wire.AppendBytes(in.buf, f)
		}
	}
	if newest == 0 { // records without a receipt are kept as long as others
		newest = time.Now().UnixNano()
	}
	return many, newest
}

// appendError says of a failed append whether its records may be there. They are not if the server refused them, or was
// not asked.
func appendError(err error) error {
	p := new(pgconn.PgError)
	refused := errors.As(err, &p) && p.SeverityUnlocalized == "ERROR"
	switch {
	case refused && p.Code == roundtrip.StateNoPartition:
		return errors.New("write the inbox: no partition for more records is made in PostgreSQL, and none will be before an agent holds the term")
	case refused && p.Code == roundtrip.StateLockTimeout:
		return errors.New("write the inbox: it has been locked in PostgreSQL for 5 s, by the append of another agent or by a statement of an administrator: see whether the standby confirms commits, " +
			"and select pid, wait_event, query from pg_stat_activity where wait_event is not null")
	case refused, pgconn.SafeToRetry(err):
		return fmt.Errorf("write the inbox: %w", roundtrip.Translate(err))
	}
	return &engine.DoubtError{Cause: fmt.Errorf("write the inbox: %w", err)}
}

// advance learns of the newest row, of which this process appended own records.
func (in *Log) advance(first, last, own uint64) {
	in.mu.Lock()
	others := int64(0)
	if last > in.last {
		others = int64(last-in.last) - int64(own)
		in.row, in.last = first, last
		in.oldest = cmp.Or(in.oldest, first)
	}
	in.mu.Unlock()
	if others > 0 && in.Committer != nil {
		in.Arrived(others)
	}
}

// watch looks for the records of others, and makes partitions, until Stop.
func (in *Log) watch(ctx context.Context) {
	defer close(in.over)
	pause, moves := pollIdle, in.db.pool.moves.Load()
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if now := in.db.pool.moves.Load(); now != moves {
			moves = now
			if cancel := in.under.Load(); cancel != nil {
				(*cancel)() // it waits for a server that was left
			}
		}
		before, t := in.Last(), in.leading()
		err := in.lookOnce(ctx)
		if err == nil && t != nil {
			err = in.extend(ctx, t)
		}
		switch {
		case err != nil, t == nil: // appends and the writer meet the same failure, and say so
			pause = pollDoor
		case in.Last() > before:
			pause = pollBusy
		default:
			pause = pollIdle
		}
	}
}

// lookOnce is look for the watch. A server that stands still must not end it, nor keep records of others out of sight.
func (in *Log) lookOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, appendPatience)
	defer cancel()
	err := in.look(ctx)
	if err == nil && time.Since(in.asked) >= pollDoor {
		err = in.askRights(ctx)
	}
	switch {
	case err == nil:
		in.away.Store(in.barred)
	case ctx.Err() == nil:
		err := roundtrip.Explain(err)
		in.away.Store(&err)
	}
	if err != nil {
		in.db.pool.doubt()
	}
	return err
}

// askRights asks whether this user may append. A load balancer must not learn it from a delivery.
func (in *Log) askRights(ctx context.Context) error {
	grants := ""
	err := in.db.ask(ctx, func(_ int, v [][]byte) { grants = string(v[0]) }, roundtrip.Statement{
		SQL: `select coalesce(string_agg(format('GRANT %s ON %s TO %I', needed, name, current_user), '; '), '') from (
	select * from (values ('SELECT', $1), ('INSERT', $1), ('SELECT', $2), ('UPDATE', $2)) on_tables (needed, name) where not has_table_privilege(name, needed)
	union all select 'EXECUTE', 'FUNCTION ' || $3 where not has_function_privilege($3, 'execute')) missing (needed, name)`,
		Params: [][]byte{[]byte(in.table()), []byte(in.db.quoted("append_lock")), []byte(in.db.quoted("append_1") + "(bigint, bigint, bigint, bytea)")}, Types: []uint32{roundtrip.TypeText, roundtrip.TypeText, roundtrip.TypeText}})
	if err != nil {
		return err
	}
	in.asked, in.barred = time.Now(), nil
	if grants != "" {
		err := fmt.Errorf("this user may not append to the inbox in PostgreSQL: have an administrator or the owner of the schema run: %s", grants)
		in.barred = &err
	}
	return nil
}

// Away says why PostgreSQL cannot be used: the last look at the inbox failed, at most about a second ago, or this user may
// not append. It is nil while it can be, and also while it only answers slowly: that may be the readers' doing, whom no append waits for.
func (in *Log) Away() error {
	if err := in.away.Load(); err != nil {
		return *err
	}
	return nil
}

// look asks for the newest row.
func (in *Log) look(ctx context.Context) error {
	return in.db.ask(ctx, func(_ int, v [][]byte) {
		in.advance(uint64(roundtrip.Integer(v[0])), uint64(roundtrip.Integer(v[1])), 0)
	}, roundtrip.Statement{
		SQL:    "select first, last from " + in.table() + " where first >= $1 order by first desc limit 1",
		Params: [][]byte{roundtrip.Number(in.newestRow())}, Types: []uint32{roundtrip.TypeNumber}})
}

// findOldest asks for the oldest record. A row without any is none.
func (in *Log) findOldest(ctx context.Context) error {
	oldest := uint64(0)
	err := in.db.ask(ctx, func(_ int, v [][]byte) { oldest = uint64(roundtrip.Integer(v[0])) }, roundtrip.Statement{
		SQL: "select first from " + in.table() + " where chunk <> '' order by first limit 1"})
	if err == nil {
		in.mu.Lock()
		in.oldest = oldest
		in.mu.Unlock()
	}
	return err
}

func (in *Log) newestRow() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.row
}

// First implements the inbox of the store.
func (in *Log) First() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.oldest
}

// Last implements engine.Log. A record of another agent counts once this one has seen it.
func (in *Log) Last() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.last
}

// Next returns the number that the next record gets, unless another agent appends.
func (in *Log) Next() uint64 { return in.Last() + 1 }

// Spans reports whether record n should be there.
func (in *Log) Spans(n uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.oldest > 0 && in.oldest <= n && n <= in.last
}

// Hurry gives the appends under way one more second: the role of the agent ends, and one that waits for a server that is
// gone must not keep the next role from beginning. Their senders send the events again.
func (in *Log) Hurry() { time.AfterFunc(hurry, in.cut) }

// Stop answers the appends that wait and refuses further ones. Records can be read until CloseFiles.
func (in *Log) Stop() {
	in.stop.Do(func() {
		in.Hurry()
		in.Committer.Stop()
		in.end()
		<-in.over
	})
}

// CloseFiles closes the log, also one that was not stopped.
func (in *Log) CloseFiles() {
	in.Stop()
	closeNow(in.conn)
	in.conn = nil
}
