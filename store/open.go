package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/orders"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/recovery"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/writer"
)

// Open locks dir, recovers what a crash left, and starts applying. The directory is made if it is missing, but nothing
// above it. A directory that is locked is an *InUseError. Files that the last stop may have torn are checked first; what
// is damaged is salvaged and kept aside, see Salvage. ErrInUse, ErrNewer and ErrUnsalvageable, damage of which nothing can
// be saved, are told apart.
func Open(dir string, o Options) (*Store, error) {
	s, err := openAtRest(dir, o)
	if err != nil {
		return nil, err
	}
	go s.writer.Run()
	s.run.others.Go(func() { s.disk.run(s.run.life) })
	s.run.others.Go(func() { s.place.Watch(s.run.life) })
	return s, nil
}

// openAtRest is Open up to where it is ready to apply.
func openAtRest(dir string, options Options) (*Store, error) {
	place, err := datadir.OpenPlace(dir, options.Command, options.Log)
	if err != nil {
		return nil, err
	}
	if err := datadir.CheckMoved(dir, options.moving); err != nil {
		return nil, errors.Join(err, place.Close())
	}
	o := &opener{Options: options, place: place, budget: datadir.NewDiskBudget(options.MaxDataBytes)}
	o.life, o.end = context.WithCancel(context.Background())
	if o.start, err = recovery.Begin(dir, o.Log, o.CheckInChild); err == nil {
		err = o.start.Run(cmp.Or(o.Start, o.life), o.open)
	}
	if err != nil {
		o.end()
		return nil, errors.Join(err, place.Close())
	}
	return o.store, nil
}

// opener puts a store together. It belongs to one goroutine.
type opener struct {
	Options
	place  *datadir.Place
	budget *datadir.DiskBudget
	start  *recovery.Start
	life   context.Context
	end    context.CancelFunc

	db    *bolt.State
	state *state.State
	inbox *wal.Log
	store *Store
}

// open opens the files and builds the store on them. It may be called again after an error that speaks of damage.
func (o *opener) open() error {
	if err := o.openState(); err != nil {
		return err
	}
	if err := o.openInbox(); err != nil {
		o.db.Close()
		return err
	}
	err := o.build()
	if err == nil {
		err = boltfile.Guard(o.store.writer.Recover)
	}
	if err != nil {
		o.inbox.Close()
		o.db.Close()
	}
	return err
}

// openState opens state.db, or makes it where there is no store yet. An inbox without a state is not a new store:
// starting empty would forget every membership without a word.
func (o *opener) openState() (err error) {
	path := filepath.Join(o.place.Dir, datadir.StateFile)
	found, err := boltfile.Exists(path)
	if err != nil {
		return fmt.Errorf("look for the state: %w", err)
	}
	if !found {
		if err := o.create(path); err != nil {
			return err
		}
	}
	if o.db, err = bolt.Open(path, state.StateMmap, false); err != nil {
		return err
	}
	if err = o.place.OpenedState(); err == nil {
		err = boltfile.Guard(o.load)
	}
	if err != nil {
		o.db.Close()
	}
	return err
}

// create makes an empty state.
func (o *opener) create(path string) error {
	inboxes, _, err := wal.Files(o.place.Dir)
	if err != nil {
		return err
	}
	if len(inboxes) > 0 {
		return fmt.Errorf("%w: %s has an inbox but no %s: restore a backup, or move the inbox files away to start anew", boltfile.ErrUnsalvageable, o.place.Dir, datadir.StateFile)
	}
	if o.start.Marker.Last == (datadir.LastRun{}) {
		o.Log.Info("a new store begins", "dir", o.place.Dir)
	} else {
		o.Log.Error("an agent has run on this directory, and its data is gone: beginning with nothing, so that every membership is unknown; "+
			"if that is not what you want, stop and restore a backup", "dir", o.place.Dir)
	}
	return datadir.Roomless(bolt.Create(path, rand.Uint32()|1, state.StateBuckets, state.Init))
}

// load migrates the state and reads it.
func (o *opener) load() error {
	if err := o.db.Migrate(bolt.Migrations, o.Log); err != nil {
		return err
	}
	if _, err := o.db.Epoch(); err != nil {
		return err
	}
	if err := o.addBuckets(); err != nil {
		return err
	}
	return o.db.View(func(tx engine.Tx) (err error) {
		o.state, err = state.LoadCounted(tx)
		return err
	})
}

// addBuckets makes the buckets that an older version did not know. It writes nothing where they exist. On a full disk the
// store goes on without them.
func (o *opener) addBuckets() error {
	missing := false
	err := o.db.View(func(tx engine.Tx) error { missing = lacksBuckets(tx); return nil })
	if err != nil || !missing {
		return err
	}
	err = datadir.Translate(o.db.AddBuckets(state.StateBuckets...))
	if errors.Is(err, domain.ErrFull) {
		o.Log.Error("the disk is full: the history of the status page is kept from the next start on", "err", err)
		return nil
	}
	return err
}

// lacksBuckets reports whether a state lacks buckets that an older version did not know.
func lacksBuckets(tx engine.Tx) bool {
	return slices.ContainsFunc(state.StateBuckets, func(name []byte) bool { return tx.Bucket(name) == nil })
}

// openInbox opens the inbox behind the last record applied.
func (o *opener) openInbox() (err error) {
	o.inbox, err = wal.Open(o.place.Dir, wal.Config{
		Epoch: o.state.Epoch, First: o.state.Applied + 1, MaxBytes: o.budget.Segment(), Records: record.InboxRecords,
		Hooks: wal.Hooks{Refuse: o.refuseRecords, Home: o.place.Check, Naming: &o.place.Naming, AfterCommit: o.place.AfterCommit},
	})
	if err != nil && o.state.Applied == 0 {
		return datadir.Roomless(err)
	}
	return err
}

// refuseRecords says why the inbox takes no record; nil when it does.
func (o *opener) refuseRecords() error {
	if err := o.place.Refusal(); err != nil {
		return err
	}
	if o.store.writer.EpochPending() {
		return fmt.Errorf("%w: this run cannot be noted", domain.ErrFull)
	}
	return nil
}

// build makes the store on the open files.
func (o *opener) build() (err error) {
	base := base{
		Options: &o.Options, life: o.life, end: o.end, db: o.db, state: o.state, records: o.inbox,
		damage: datadir.NewDamage(o.Log, o.start.Marker), budget: o.budget, scratch: o.place.Dir,
		tight: func() error { return datadir.Tight(o.place.Dir, o.db.Spare, datadir.ForLeases) },
	}
	if o.start.Checked {
		base.checked = o.inbox.Next() - 1
	}
	if o.store, err = base.build(); err != nil {
		return err
	}
	s, w := o.store, o.store.writer
	w.Arrive(o.start.Arrival(o.state.Home, o.inbox.Next(), o.restoring))
	o.place.SetInbox(func() error { return o.inbox.CompareFiles(w.Applied()) })
	s.db, s.inbox, s.written = o.db, o.inbox, o.start.Written
	s.upkeep.place, s.upkeep.db, s.upkeep.inbox = o.place, o.db, o.inbox
	s.files = &files{
		place: o.place, marker: o.start.Marker,
		disk: &diskWatch{budget: o.budget, place: o.place, log: o.Log, db: o.db, inbox: o.inbox, writer: w, pinned: &s.upkeep.pinned},
	}
	s.disk.update()
	return nil
}

// base is what every store is built on: a state and an inbox, wherever they are.
type base struct {
	*Options
	life    context.Context
	end     context.CancelFunc
	db      engine.State
	state   *state.State
	records inbox
	damage  *datadir.Damage
	budget  *datadir.DiskBudget
	scratch string       // folder for what an order must sort
	checked uint64       // see writer.Config
	tight   func() error // see writer.Config; nil on PostgreSQL
}

// build puts the store together. Its writer is to be run.
func (b *base) build() (*Store, error) {
	now := time.Now()
	parkings, refused := state.NewParkings(now), refusal.New(now)
	reader := &query.Reader{State: b.db, Inbox: b.records, Parkings: parkings, Refused: refused, Damaged: b.damage.NoteRead}
	if err := reader.Look(func(tx engine.Tx) error { return refused.Load(tx, b.state.Ledger.Rejected) }); err != nil {
		return nil, err
	}
	w := writer.New(writer.Config{
		Log: b.Log, DB: b.db, State: b.state, Inbox: b.records, Damage: b.damage, Checked: b.checked, Parkings: parkings, Refused: refused, Tight: b.tight,
	})
	u := &upkeep{log: b.Log, r: reader, records: b.records, writer: w, budget: b.budget, life: b.life, now: time.Now}
	u.retention.Store(b.Options)
	return &Store{
		View:    View{r: reader},
		records: b.records,
		writer:  w, liveness: writer.Liveness{Writer: w}, damage: b.damage,
		rules:  ruleKeeper{db: b.db, inbox: b.records, writer: w},
		orders: &orders.Runner{Dir: b.scratch, Reader: reader, Inbox: b.records, Budget: b.budget, Writer: w},
		upkeep: u,
		run:    running{life: b.life, end: b.end},
	}, nil
}
