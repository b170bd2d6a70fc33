package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// View answers questions about a store, and changes nothing. Every method is a few short read transactions, so that the
// writer waits for no reader. A page of a listing is consistent in itself. All methods may be called concurrently.
type View struct {
	r     *query.Reader
	db    *bolt.State // nil on PostgreSQL, like inbox
	inbox *wal.Log
	end   func() error // of a read-only view
}

// OpenReadOnly opens the files of a stopped agent for inspection. It returns ErrNoData when there is no store in dir, and
// ErrInUse when an agent has it.
func OpenReadOnly(dir string) (v *View, err error) {
	if err := boltfile.Guard(func() error { v, err = openReadOnly(dir); return err }); err != nil {
		return nil, ExplainDamage(err)
	}
	return v, nil
}

// ExplainDamage adds to an error of damaged data what to do, and returns every other one as it is.
func ExplainDamage(err error) error {
	if err == nil || !errors.Is(err, wire.ErrDamaged) && !boltfile.IsInvalid(err) {
		return err
	}
	return fmt.Errorf("the data is damaged: %w: `personasync db check` lists the damage, and says what to do", err)
}

func openReadOnly(dir string) (*View, error) {
	path := filepath.Join(dir, datadir.StateFile)
	found, err := boltfile.Exists(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	if err := datadir.CheckMoved(dir, false); err != nil { // the place of a move under way has no file yet
		return nil, err
	}
	if err != nil || !found {
		return nil, errors.Join(datadir.ErrNoData, err)
	}
	if err := boltfile.CheckRegular(path); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0, true)
	if err != nil {
		return nil, err
	}
	epoch, err := db.Epoch()
	if err == nil {
		err = db.CheckMigrated()
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	inbox, err := wal.OpenReadOnly(dir, epoch, record.InboxRecords)
	if err != nil {
		db.Close()
		return nil, err
	}
	end := func() error { inbox.CloseFiles(); return db.Close() }
	return &View{r: &query.Reader{State: db, Inbox: inbox}, db: db, inbox: inbox, end: end}, nil
}

// Close ends a read-only view.
func (v *View) Close() error { return v.end() }

// look runs one read transaction.
func (v *View) look(f func(tx engine.Tx) error) error { return v.r.Look(f) }

// read runs one read transaction with everything a decision needs.
func (v *View) read(f func(tx *state.Tx) error) error { return v.r.Read(f) }

// LastRecord returns the number of the last record received. It is cheap: a caller may ask every second
// whether anything came.
func (v *View) LastRecord() uint64 { return v.r.LastRecord() }

// Epoch names the store: every change id begins with it. A restored store keeps it.
func (v *View) Epoch() (epoch string, err error) {
	err = v.look(func(tx engine.Tx) error {
		epoch = fmt.Sprintf("%08x", binary.BigEndian.Uint32(tx.Bucket(state.BucketMeta).Get(boltfile.MetaEpoch)))
		return nil
	})
	return epoch, err
}

// Counts returns the ledgers and gauges.
func (v *View) Counts() (domain.Counts, error) { return v.r.Counts() }

// Computations lists every computation seen, by key, without SentUpTo.
func (v *View) Computations() ([]domain.ComputationInfo, error) { return v.r.Computations() }

// Watermarked is Computations with SentUpTo, for which it reads up to about 12,000 rows.
func (v *View) Watermarked() ([]domain.ComputationInfo, error) { return v.r.Watermarked() }

// Change returns one change, wherever it is, and the raw event that caused it while that is kept. An
// unknown id is ErrNotFound.
func (v *View) Change(id domain.ID) (c *domain.Change, raw []byte, err error) { return v.r.Change(id) }

// Changes lists changes. Pending ones come as they are due, parked and held ones by id, closed ones
// the newest first. next is the cursor of the page behind this one, "" when there is none.
func (v *View) Changes(f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error) {
	return v.r.Changes(f)
}

// ReadListing reads on in a listing, for a moment; l.Done says whether that was all.
func (v *View) ReadListing(l *query.Listing) error { return l.Read(v.r) }

// Members lists the members of one computation; after is the user behind whom to go on, "" for the
// first page. An unknown key is ErrNotFound; an ambiguous one is an *AmbiguousError.
func (v *View) Members(key, after string, limit int) (page []domain.MemberInfo, more bool, err error) {
	return v.r.Members(key, after, limit)
}

// ReadMembers reads on in a listing of members, for a moment; l.Done says whether that was all.
func (v *View) ReadMembers(l *query.MemberListing) error { return l.Read(v.r) }

// ReadJournal reads on in a page of the journal, for a moment; l.Done says whether that was all. An unknown user or
// computation is ErrNotFound, an ambiguous one an *AmbiguousError, and a trait ErrNoMembers.
func (v *View) ReadJournal(l *query.JournalListing) error { return l.Read(v.r) }

// Deletions returns the receipts of deletes at MoEngage, the newest first: those of one user, or all where user is "".
func (v *View) Deletions(user string) ([]domain.Deletion, error) { return v.r.Deletions(user) }

// User returns everything known of one user, or ErrNotFound.
func (v *View) User(id string) (*domain.UserInfo, error) { return v.r.User(id) }

// Activity returns the newest lines, or what happened since a cursor.
func (v *View) Activity(f query.ActivityFilter) (query.Activity, error) { return v.r.Activity(f) }

// Stats counts the changes that pass the filter, by state, kind, computation and reason. Without a state it counts
// pending, held and parked ones.
func (v *View) Stats(f domain.OutboxFilter) ([]domain.StatLine, error) { return v.r.Stats(f) }

// StatsPage is Stats of a part of the changes, for readers that must not read for long at a time. MergeStats adds up
// the parts. next is the cursor of the next part, "" at the end.
func (v *View) StatsPage(f domain.OutboxFilter, after string) (lines []domain.StatLine, next string, err error) {
	return v.r.StatsPage(f, after)
}

// Pauses returns the pauses of computations, by name. Some may be over.
func (v *View) Pauses() ([]domain.Pause, error) { return v.r.Pauses() }

// Pause returns the pause that an operator ordered last, which may be over, or nil.
func (v *View) Pause() (*domain.Pause, error) { return v.r.Pause() }

// SentTo returns the workspace of MoEngage that was told what the store knows to be sent; "" if none was told anything yet.
func (v *View) SentTo() (workspace string, err error) {
	was, told, err := v.sentTo()
	if !told {
		was = ""
	}
	return was, err
}

// sentTo returns the workspace that a store knows, and whether MoEngage accepted anything.
func (v *View) sentTo() (workspace string, told bool, err error) {
	err = v.r.Read(func(tx *state.Tx) error {
		workspace = string(tx.Bucket(state.BucketMeta).Get(engine.MetaWorkspace))
		told = tx.State.Ledger.Changes.Delivered > 0
		return nil
	})
	return workspace, told, err
}

// Expiring says which parked items expire soon, when they are kept for so long; nil when none does.
func (v *View) Expiring(now time.Time, keep time.Duration) (*query.Expiring, error) {
	return v.r.Expiring(now, keep)
}

// Preview returns the lease that Take would commit, and changes nothing.
func (v *View) Preview(o domain.TakeOptions) (*domain.Lease, error) { return v.r.Preview(o) }

// Sent returns how much left in each second since the given time, for rate limits that must survive a
// restart. It reaches back two minutes.
func (v *View) Sent(since time.Time) ([]domain.SentSecond, error) { return v.r.Sent(since) }

// ToldUsers lists a page of the users whom MoEngage was told an attribute of this computation about;
// next is the cursor of the page behind it, "" at the end. An unknown key is ErrNotFound, an ambiguous
// one an *AmbiguousError. Pages without users are possible.
func (v *View) ToldUsers(key, cursor string) (users []string, next string, err error) {
	return v.r.ToldUsers(key, cursor)
}

// Told returns what MoEngage should hold of these users and this computation, all at one moment, in
// their order. A user of whom a change was sent after settled counts as moving. A user of whom MoEngage was sent
// nothing, as after being forgotten, has no attributes.
func (v *View) Told(key string, users []string, settled time.Time) ([]query.ToldUser, error) {
	return v.r.Told(key, users, settled)
}

// SendsAttributes reports whether a computation's changes leave as attributes, or as entries of a list,
// which are all that can be read back. An unknown key is ErrNotFound, an ambiguous one an *AmbiguousError.
func (v *View) SendsAttributes(key string) (bool, error) { return v.r.SendsAttributes(key) }

// Verifications lists the last verification of every computation that had one, by key.
func (v *View) Verifications() ([]query.Verification, error) { return v.r.Verifications() }

// JobRuns lists the jobs' last runs, by name.
func (v *View) JobRuns() ([]query.JobRun, error) { return v.r.JobRuns() }

// GoodBackup returns the last scheduled backup that was proven; nil before the first.
func (v *View) GoodBackup() (*query.GoodBackup, error) { return v.r.GoodBackup() }

// Notices lists what each receiver of notifications was told last, by receiver.
func (v *View) Notices() ([]query.Notices, error) { return v.r.Notices() }

// Sample says how things are now, as far as the store knows.
func (v *View) Sample(now time.Time) (query.Sample, error) { return v.r.Sample(now) }

// Samples lists the samples kept since then, the oldest first. Damaged ones are left out.
func (v *View) Samples(since time.Time) ([]query.Sample, error) { return v.r.Samples(since) }

// Salvages returns the salvages whose damaged files are still kept aside, oldest first.
func (v *View) Salvages() (list []repair.Salvage, err error) {
	if v.db == nil {
		return nil, nil
	}
	err = v.look(func(tx engine.Tx) error { list, err = repair.SalvagesIn(tx, filepath.Dir(v.db.Path())); return err })
	return list, err
}

// Backup writes a backup of the files of a stopped agent.
func (v *View) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (snapshot.BackupReport, error) {
	if v.db == nil {
		return snapshot.BackupReport{}, errNotFiles
	}
	return snapshot.Backup(ctx, v.r, v.db, v.inbox, w, progress, nil)
}
