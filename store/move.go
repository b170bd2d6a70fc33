package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/move"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
)

// A move copies a store to another place: the same bytes under the same keys in every bucket, and the same records under the
// same numbers. Its steps are
//
//	begin   the new place is marked: no agent opens it
//	copy    … and proven, by the sums of every bucket and of the inbox on both sides
//	leave   the old place is marked: no agent opens it, and it says where its store went
//	arrive  the mark of the new place is removed
//
// At no moment can agents open both. A crash leaves the old store whole at any point. Until the last step the same command
// starts over.

// MoveReport says what a move did.
type MoveReport struct {
	From     string        `json:"from"`
	To       string        `json:"to"`
	Parts    []MovePart    `json:"parts"`        // the same on both sides
	First    uint64        `json:"first_record"` // number of the oldest record of the inbox; 0 without any
	Next     uint64        `json:"next_record"`
	Previous string        `json:"previous,omitempty"` // the folder with the files that the new ones replaced
	Took     time.Duration `json:"took_ns"`
}

// Destination is a new place of a store.
type Destination interface {
	// String names the place without a secret.
	fmt.Stringer

	// begin marks the place and makes an empty store there, whose inbox begins with the record first. It refuses a place whose store an agent could open.
	begin(ctx context.Context, from string, epoch uint32, first uint64) (*move.Store, error)
	// arrive puts the store, which is complete, where agents open it, and removes the mark.
	arrive(ctx context.Context) (previous string, err error)
	// end gives the place back, at whatever step the move ended.
	end() error
}

// OpenToMove opens the store of a stopped agent in dir for Move. It opens one that was moved already, because that move may
// not have come to its end.
func OpenToMove(dir string, o Options) (*Store, error) {
	found, err := boltfile.Exists(filepath.Join(dir, datadir.StateFile))
	if err != nil || !found {
		return nil, errors.Join(ErrNoData, err)
	}
	o.moving, o.Command = true, "db move"
	return Open(dir, o)
}

// Move moves the store to another place. It first applies every received event. No agent may be at work at either place.
// progress may be nil; it counts bytes of this store. After an error the store is where it was, unless it says otherwise.
func (s *Store) Move(ctx context.Context, to Destination, progress func(done, total int64)) (r MoveReport, err error) {
	begun := time.Now()
	r = MoveReport{From: s.String(), To: to.String()}
	if err := s.checkWent(ctx, r.To); err != nil {
		return r, err
	}
	if err := s.Applied(ctx); err != nil {
		return r, err
	}
	from := &move.Store{State: s.r.State, Records: s.records}
	if r.First, err = move.Contiguous(ctx, from.Records); err != nil {
		return r, err
	}
	r.Next = from.Records.Next()
	defer func() { err = errors.Join(err, to.end()) }()
	epoch, err := move.Epoch(s.r.State)
	if err != nil {
		return r, err
	}
	first := r.First
	first = cmp.Or(first, r.Next) // the numbers go on
	copied, err := to.begin(ctx, r.From, epoch, first)
	if err != nil {
		return r, err
	}
	if r.Parts, err = move.Copy(ctx, from, copied, r.First, progress); err != nil {
		return r, fmt.Errorf("copy the store, which stays at %s and can be used there: %w", r.From, err)
	}
	crashpoint.Reach(crashpoint.MoveCopied)
	if err := s.leave(ctx, r.To); err != nil {
		return r, fmt.Errorf("mark the store as moved: %w", err)
	}
	crashpoint.Reach(crashpoint.MoveLeft)
	if r.Previous, err = to.arrive(ctx); err != nil {
		return r, fmt.Errorf("the store has left %s, and is not yet at %s: run the same command again: %w", r.From, r.To, err)
	}
	r.Took = time.Since(begun)
	return r, nil
}

// checkWent refuses a store that was moved to another place than to: there would be two of it, and agents could open both.
func (s *Store) checkWent(ctx context.Context, to string) (err error) {
	if s.files == nil {
		err = checkMoved(ctx, s.term.db, false)
	} else {
		err = datadir.CheckMoved(s.place.Dir, false)
	}
	if moved := new(MovedError); errors.As(err, &moved) && moved.To == to {
		return nil // by a move that may not have come to its end
	}
	if err != nil {
		err = fmt.Errorf("%w; then `personasync db move` moves it from there", err)
	}
	return err
}

// String names the place of the store.
func (s *Store) String() string {
	if s.files == nil {
		return s.term.db.Place()
	}
	return s.place.Dir
}

// leave marks the store as moved. If somebody goes back to it all the same, it gives the numbers again that the new place has
// given since, so the ids of its changes need another epoch: the store forgets where it ran.
func (s *Store) leave(ctx context.Context, to string) error {
	err := s.writer.Do(ctx, func(tx *state.Tx) error {
		state.MoveIn(tx, &state.Arrival{Home: []byte("moved away")})
		return tx.Err
	}, nil)
	if err != nil {
		return err
	}
	if s.files == nil {
		return s.term.held.Leave(ctx, to, s.records.Last())
	}
	return datadir.MarkMoved(s.place.Dir, MovedError{To: to, At: time.Now()})
}

// Dir is the data directory at that path as a Destination. It is made if it is missing, and may have a store that was moved
// away, which is kept aside.
func Dir(path string) Destination { return &dirDestination{dir: path} }

// dirDestination builds the store in datadir.RestoreDir, as a restore does. The mark stays until the files of the new store
// have taken the place of those of the old one.
type dirDestination struct {
	dir   string
	lock  *os.File
	fresh bool // there was no mark before
	state *bolt.State
	inbox *wal.Log
}

func (d *dirDestination) String() string { return d.dir }

func (d *dirDestination) staging() string { return filepath.Join(d.dir, datadir.RestoreDir) }

func (d *dirDestination) begin(_ context.Context, from string, epoch uint32, first uint64) (_ *move.Store, err error) {
	if err := datadir.MakeDir(d.dir); err != nil {
		return nil, err
	}
	if here, err := os.Stat(d.dir); err != nil {
		return nil, err
	} else if there, err := os.Stat(from); err == nil && os.SameFile(here, there) {
		return nil, fmt.Errorf("the store in %s is there already: name another place", d.dir)
	}
	if d.lock, err = datadir.LockDir(d.dir, "db move"); err != nil {
		return nil, err
	}
	marked := datadir.CheckMoved(d.dir, false)
	if marked != nil && !errors.Is(marked, datadir.ErrMovedAway) {
		return nil, marked
	}
	if found, err := hasStore(d.dir); marked == nil && (found || err != nil) {
		return nil, errors.Join(err, fmt.Errorf("%s has a store already, which nobody moved away: name another folder, or move its files out of there", d.dir))
	}
	d.fresh = marked == nil
	if err := datadir.MarkMoved(d.dir, MovedError{From: from, At: time.Now()}); err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(d.staging()), os.Mkdir(d.staging(), 0o700)); err != nil {
		return nil, err
	}
	if d.state, err = bolt.Fresh(filepath.Join(d.staging(), datadir.StateFile), state.StateMmap, epoch, state.StateBuckets); err != nil {
		return nil, err
	}
	d.inbox, err = wal.Open(d.staging(), wal.Config{Epoch: epoch, First: first, Records: record.InboxRecords})
	return &move.Store{State: d.state, Records: d.inbox}, err
}

// hasStore reports whether dir has files of a store.
func hasStore(dir string) (bool, error) {
	found, err := boltfile.Exists(filepath.Join(dir, datadir.StateFile))
	inboxes, _, failed := wal.Files(dir)
	return found || len(inboxes) > 0, errors.Join(err, failed)
}

func (d *dirDestination) arrive(context.Context) (previous string, err error) {
	if err := d.close(); err != nil {
		return "", err
	}
	aside, err := setStateAside(d.dir, time.Now())
	if err == nil {
		err = errors.Join(moveSegments(d.dir, aside), boltfile.SyncDir(aside))
	}
	if err == nil {
		err = moveSegments(d.staging(), d.dir) // takePlace syncs the folder
	}
	if err == nil {
		err = takePlace(filepath.Join(d.staging(), datadir.StateFile), d.dir)
	}
	// How the files that were there before were left says nothing of these: the next start reads them all.
	if remove := os.Remove(filepath.Join(d.dir, datadir.RunFile)); err == nil && !errors.Is(remove, os.ErrNotExist) {
		err = remove
	}
	if err != nil {
		return "", err
	}
	crashpoint.Reach(crashpoint.MovePlaced)
	if previous, err = finishAside(aside); err != nil {
		return previous, err
	}
	return previous, datadir.UnmarkMoved(d.dir)
}

// close puts everything on disk.
func (d *dirDestination) close() error {
	if d.state == nil {
		return nil
	}
	err := d.state.Sync()
	if d.inbox != nil {
		d.inbox.Close()
	}
	err = errors.Join(err, d.state.Close(), boltfile.SyncDir(d.staging()))
	d.state = nil
	return datadir.Translate(err)
}

func (d *dirDestination) end() error {
	if d.lock == nil {
		return nil
	}
	err := errors.Join(d.close(), os.RemoveAll(d.staging()))
	if found, failed := hasStore(d.dir); d.fresh && !found && failed == nil && datadir.CheckMoved(d.dir, false) != nil {
		err = errors.Join(err, datadir.UnmarkMoved(d.dir))
	}
	return errors.Join(err, boltfile.Unlock(d.lock))
}
