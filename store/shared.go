package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
	"personasync/store/postgres"
)

// Shared is a store in PostgreSQL, which several agents share. One of them at a time has the term and is the writer: it
// applies, sends, and keeps house. The others are doors: they take events, which the writer applies, and answer
// questions.
//
// A process opens it again and again, each time in the role that it has then: see Store.RoleEnded. Open, Connect's
// counterpart Close, and the use of what Open returned follow each other; they are not called concurrently.
type Shared struct {
	db   *postgres.DB
	next *postgres.Term // acquired for the next Open; nil: it tries for one
	mu   sync.Mutex     // covers next
}

// SharedConfig says how to reach a store in PostgreSQL.
type SharedConfig = postgres.Config

// ErrNotWriter says that an order must be given where the writer runs, and where that is.
var ErrNotWriter = postgres.ErrNotWriter

// Connect connects to the store of c, which may not exist yet.
func Connect(ctx context.Context, c SharedConfig) (*Shared, error) {
	db, err := postgres.Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Shared{db: db}, nil
}

// Passes reports whether waiting may cure the failure of Connect or Open.
func Passes(err error) bool { return postgres.Passes(err) }

// MakeDir makes a folder as a data directory, if it is missing.
func MakeDir(dir string) error { return datadir.MakeDir(dir) }

// Close ends the connections, and gives up a term that no Open took. A nil Shared has none.
func (h *Shared) Close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	(&term{held: h.next}).end()
	h.next = nil
	h.db.Close()
}

// Open opens the store: as its writer if nobody else is, and as a door otherwise. A store that does not exist is made.
// scratch is a folder for what an order must sort, made if it is missing.
func (h *Shared) Open(ctx context.Context, scratch string, options Options) (*Store, error) {
	if err := datadir.MakeDir(scratch); err != nil {
		return nil, err
	}
	t, err := h.acquire(ctx)
	if err != nil {
		return nil, err
	}
	o := &sharedOpener{Options: options, db: h.db, term: t, scratch: scratch}
	o.life, o.end = context.WithCancel(context.Background())
	s, err := o.open(ctx)
	if err != nil {
		o.end()
		t.end()
		return nil, err
	}
	if t.held == nil {
		s.run.others.Go(func() { h.await(o.life, t) })
		return s, nil
	}
	go s.writer.Run()
	return s, nil
}

// OpenReadOnly opens the store for inspection, beside its writer, and closes the connections with the view. It returns
// ErrNoData when there is no store.
func (h *Shared) OpenReadOnly(ctx context.Context) (*View, error) {
	if err := checkMoved(ctx, h.db, false); err != nil { // the place of a move under way has no tables yet
		return nil, err
	}
	found, err := h.db.Exists(ctx)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoData
	}
	records, err := h.db.Log(0, nil)
	if err != nil {
		return nil, err
	}
	end := func() error { records.CloseFiles(); h.Close(); return nil }
	return &View{r: &query.Reader{State: h.db.State(nil), Inbox: records}, end: end}, nil
}

// acquire returns the term that await got, or tries for one.
func (h *Shared) acquire(ctx context.Context) (*term, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &term{db: h.db, held: h.next, since: time.Now(), over: make(chan struct{})}
	h.next = nil
	if t.held != nil {
		return t, nil
	}
	var err error
	t.held, err = h.db.Acquire(ctx)
	switch {
	case errors.Is(err, postgres.ErrHeld):
		return t, nil
	case ctx.Err() == nil && (Passes(err) || errors.Is(err, domain.ErrOtherWorkspace)):
		t.why = err // an agent that receives is better than none; it asks again
		return t, nil
	}
	return t, err
}

// await waits for a term, and ends the role of a door once it has one.
func (h *Shared) await(ctx context.Context, t *term) {
	held, err := h.db.Wait(ctx)
	if err != nil {
		return // ctx ended
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = held
	close(t.over)
	t.hurry()
}

// term is the role of an open store.
type term struct {
	db    *postgres.DB
	held  *postgres.Term // nil: a door
	since time.Time      // when this process was given it
	why   error          // it could not be asked for at the start; nil: another agent has it
	over  chan struct{}  // of a door: closed once this process is to be the writer
	away  func() error   // why PostgreSQL cannot be used
	hurry func()         // ends appends that wait
}

// handOver bounds how long the end of a term may take.
const handOver = 2 * time.Second

// end gives the term up, to the agent that asks next.
func (t *term) end() {
	if t == nil || t.held == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOver)
	defer cancel()
	_ = t.held.Release(ctx) // else it runs out
}

// Role is what a process is to its store.
type Role struct {
	Shared bool      // several processes may have the store open
	Writer bool      // this process writes it
	Term   int64     // number of the term of this process, 0 without one
	Since  time.Time // begin of that term
}

// Role returns the role that the store was opened in. In files it is always that of the writer.
func (s *Store) Role() Role {
	switch {
	case s.term == nil:
		return Role{Writer: true}
	case s.term.held == nil:
		return Role{Shared: true}
	}
	return Role{Shared: true, Writer: true, Term: s.term.held.Number(), Since: s.term.since}
}

// RoleEnded is closed when the role has ended: a writer's term is over, or a door is to be the writer. The caller closes
// the store and opens it again. A writer starts no request after that, and ends those under way: the next one may be at
// work in a second. In files it is nil.
func (s *Store) RoleEnded() <-chan struct{} {
	switch {
	case s.term == nil:
		return nil
	case s.term.held == nil:
		return s.term.over
	}
	return s.term.held.Context().Done()
}

// Away says why the database cannot be used now, so that an append would fail. It is nil while it can be, and costs nothing.
func (s *Store) Away() error {
	if s.term == nil {
		return nil
	}
	return s.term.away()
}

// MaySend returns an error once the term of a writer is over by this machine's clock. A process that stood still learns it here before
// RoleEnded is closed.
func (s *Store) MaySend() error {
	if s.term == nil || s.term.held == nil || s.term.held.Trusted() {
		return nil
	}
	return postgres.ErrTermOver
}

// RoleEndedBy says why the term of a writer is over; nil of a door, which is given one.
func (s *Store) RoleEndedBy() error {
	if s.term == nil || s.term.held == nil {
		return nil
	}
	return context.Cause(s.term.held.Context())
}

// Writes returns nil where this process writes the store, and otherwise ErrNotWriter with the one that does.
func (s *Store) Writes() error {
	if s.Role().Writer {
		return nil
	}
	return s.writer.Pause(func() {})
}

// sharedOpener puts a store on PostgreSQL together.
type sharedOpener struct {
	Options
	db      *postgres.DB
	term    *term
	scratch string
	life    context.Context
	end     context.CancelFunc
}

func (o *sharedOpener) open(ctx context.Context) (*Store, error) {
	if err := o.create(ctx); err != nil {
		return nil, err
	}
	kv := o.db.State(o.term.held)
	st, err := o.load(kv)
	if err != nil {
		return nil, err
	}
	if err := o.claim(kv); err != nil {
		return nil, err
	}
	home, err := o.db.Home(ctx)
	if err != nil {
		return nil, err
	}
	records, err := o.db.Log(st.Applied+1, o.term.held)
	if err != nil {
		return nil, err
	}
	b := base{
		Options: &o.Options, life: o.life, end: o.end, db: kv, state: st, records: records,
		damage: datadir.NewDamage(o.Log, nil), budget: datadir.NewDiskBudget(0), scratch: o.scratch,
	}
	s, err := b.build()
	if err = errors.Join(err, records.Connect(ctx)); err != nil {
		records.CloseFiles()
		return nil, err
	}
	s.term, s.rules.log = o.term, o.Log
	o.term.away, o.term.hurry = records.Away, records.Hurry
	if o.term.held == nil {
		s.r.Refused, s.r.Parkings = nil, nil // the writer's
		s.writer.Absent(func() error { return o.db.NotWriter() })
		return s, nil
	}
	context.AfterFunc(o.term.held.Context(), records.Hurry)
	s.writer.Arrive(o.arrival(st, home, records.Next()))
	if err := boltfile.Guard(s.writer.Recover); err != nil {
		records.CloseFiles()
		return nil, err
	}
	return s, nil
}

// create makes the tables of a new store, if this process is to be the writer. A door of a store that does not exist
// waits for the writer that makes it. A new store needs the second copy that the configuration promises. One that exists is
// opened without: a failover may have left PostgreSQL alone, and then a condition says so.
func (o *sharedOpener) create(ctx context.Context) error {
	if err := checkMoved(ctx, o.db, o.moving); err != nil {
		return err
	}
	found, err := o.db.Exists(ctx)
	switch {
	case err != nil || found:
		return err
	case o.term.why != nil:
		return o.term.why
	case o.term.held == nil:
		return fmt.Errorf("%w: another agent is making the store: it is tried again", domain.ErrBusy)
	}
	if err := o.db.RequireStandby(ctx); err != nil {
		return err
	}
	o.Log.Info("a new store begins", "schema", o.db.Schema)
	return o.db.Create(ctx, o.term.held, rand.Uint32()|1, state.StateBuckets, state.Init)
}

// load verifies the format of the state and reads it. A writer adds the buckets that an older version did not know.
func (o *sharedOpener) load(kv *postgres.State) (st *state.State, err error) {
	missing := false
	read := func(tx engine.Tx) (err error) {
		if err = postgres.CheckFormat(tx); err == nil {
			missing = lacksBuckets(tx)
			st, err = state.LoadCounted(tx)
		}
		return err
	}
	if err = kv.View(read); err == nil && missing && o.term.held != nil {
		if err = kv.AddBuckets(state.StateBuckets...); err == nil {
			err = kv.View(read)
		}
	}
	return st, err
}

// claim has the store know the workspace that its writer sends to. It compares once more: between the question of Acquire and the
// term another agent may have been the writer.
func (o *sharedOpener) claim(kv *postgres.State) error {
	if o.term.held == nil || o.db.Workspace.ID == "" {
		return nil
	}
	return kv.Update(func(tx engine.Tx) error {
		meta := tx.Bucket(engine.BucketMeta)
		was := string(meta.Get(engine.MetaWorkspace))
		if err := o.db.Admits(was); err != nil || was == o.db.Workspace.ID {
			return err
		}
		if was != "" {
			o.Log.Warn("the store goes on with another workspace of MoEngage, which knows nothing of what the one before was told: `personasync audience reconcile --all` sends it everything",
				"workspace", o.db.Workspace.ID, "before", was)
		}
		return meta.Put(engine.MetaWorkspace, []byte(o.db.Workspace.ID))
	})
}

// arrival has change ids go on under another epoch where the database is not the one that it was: a standby that was
// promoted, or a backup, may lack what the one before had.
func (o *sharedOpener) arrival(st *state.State, home []byte, next uint64) *state.Arrival {
	if string(home) == string(st.Home) {
		return nil
	}
	a := &state.Arrival{Home: home, First: next}
	if len(st.Home) > 0 {
		a.Epoch = rand.Uint32() | 1
		o.Log.Info("the database is another one than before, or was promoted: change ids made from now on bear another epoch", "epoch", fmt.Sprintf("%08x", a.Epoch), "first_record", a.First)
	}
	return a
}
