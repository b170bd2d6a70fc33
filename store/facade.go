package store

import (
	"context"
	"io"
	"os/exec"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/move"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Names of the packages below that the rest of the program uses.

// Errors that a caller can tell apart.
var (
	ErrInUse          = boltfile.ErrInUse        // another process has the directory, see InUseError
	ErrNotFound       = domain.ErrNotFound       // no user, change or computation of that name
	ErrBusy           = domain.ErrBusy           // more is being appended at once than may be
	ErrFull           = domain.ErrFull           // the disk, or what the data may take, is full; see FullError
	ErrClosed         = domain.ErrClosed         // the store was closed
	ErrMoved          = boltfile.ErrMoved        // the files of the store are not where their names say
	ErrNewer          = wire.ErrNewer            // a newer version wrote the data
	ErrForeign        = datadir.ErrForeign       // the directory holds something that is not personasync's
	ErrNoData         = datadir.ErrNoData        // there is no store in the directory
	ErrOtherWorkspace = domain.ErrOtherWorkspace // another workspace of MoEngage was told what the store knows
	ErrNoRoom         = datadir.ErrNoRoom        // to make a store in, or to migrate one
	ErrNoPlace        = datadir.ErrNoPlace       // the directory does not exist; perhaps its disk is not mounted
	ErrMovedAway      = datadir.ErrMovedAway     // the store was moved elsewhere, or has not come here whole, see MovedError

	ErrUnsalvageable = boltfile.ErrUnsalvageable // nothing of a damaged file can be saved: a restart does not help
	ErrBadCursor     = query.ErrBadCursor        // the cursor is not one of this listing
	ErrNoSuccessor   = apply.ErrNoSuccessor      // no event has named the computation that is to continue an audience
	ErrNotAFile      = snapshot.ErrNotAFile      // a backup's name belongs to a folder or a device
)

// Limits and defaults.
const (
	Stdin        = snapshot.Stdin      // the path of a backup that is read from the standard input
	Format       = datadir.Format      // version of the data on disk
	DefaultLimit = query.DefaultLimit  // lines of a page
	MaxActionIDs = record.MaxActionIDs // changes that one order to retry or drop may name
	MaxRepair    = record.MaxRepair    // users that one repair may be about
)

// What View answers.
type (
	// Activity is a page of what happened lately.
	Activity = query.Activity
	// ActivityEntry is one thing that happened.
	ActivityEntry = query.ActivityEntry
	// ActivityFilter selects entries.
	ActivityFilter = query.ActivityFilter
	// Listing is a listing of changes that is read in parts.
	Listing = query.Listing
	// MemberListing is a listing of members that is read in parts.
	MemberListing = query.MemberListing
	// JournalListing is a page of the journal that is read in parts.
	JournalListing = query.JournalListing
	// Expiring says which parked changes expire soon.
	Expiring = query.Expiring
	// Sample is how things were at one minute.
	Sample = query.Sample
	// AudienceSample is the part of a Sample about one audience.
	AudienceSample = query.AudienceSample
	// JobRun is the last run of a job.
	JobRun = query.JobRun
	// ToldUser is what MoEngage should hold of one user.
	ToldUser = query.ToldUser
	// Verification is a comparison of a computation with what MoEngage holds.
	Verification = query.Verification
	// GoodBackup is the last scheduled backup that was proven.
	GoodBackup = query.GoodBackup
	// Notices are what one receiver of notifications was told last.
	Notices = query.Notices
	// Notice is the state of one condition as a receiver knows it.
	Notice = query.Notice
	// Told is one attribute that MoEngage was found not to hold: see Repair.
	Told = record.Told
	// AmbiguousError names the computations that a key may mean.
	AmbiguousError = state.AmbiguousError
)

// The directory, and work on whole files.
type (
	// Space is how much disk the data takes, and how much is free.
	Space = datadir.Space
	// FullError says why events are refused. It is ErrFull.
	FullError = datadir.FullError
	// Holding is the process that has a directory.
	Holding = datadir.Holding
	// InUseError says which process has a directory. It is ErrInUse.
	InUseError = datadir.InUseError
	// MovedError says that a store was moved elsewhere, or has not come here whole. It is ErrMovedAway.
	MovedError = datadir.MovedError
	// MovePart is a bucket, or the inbox, and what its entries came to on both sides of a move.
	MovePart = move.Part
	// CheckReport is what a check found.
	CheckReport = repair.CheckReport
	// Finding is one fault that a check found.
	Finding = repair.Finding
	// Salvage is how much was saved of a damaged file, and how much was lost.
	Salvage = repair.Salvage
	// Stock is how much a check found of each kind.
	Stock = repair.Stock
	// BackupInfo is what a backup says of itself.
	BackupInfo = snapshot.BackupInfo
	// BackupReport is what a backup did.
	BackupReport = snapshot.BackupReport
)

// NewListing begins the page that f asks for, or answers ErrBadCursor.
func NewListing(f domain.OutboxFilter) (*Listing, error) { return query.NewListing(f) }

// NewMemberListing begins the page that Members would return.
func NewMemberListing(key, after string, limit int) *MemberListing {
	return query.NewMemberListing(key, after, limit)
}

// NewJournalListing begins the page that f asks for.
func NewJournalListing(f domain.JournalFilter) *JournalListing { return query.NewJournalListing(f) }

// MergeStats adds up lines of one kind, in the order that a listing shows.
func MergeStats(a, b []domain.StatLine) []domain.StatLine { return query.MergeStats(a, b) }

// Arguments quotes the arguments of a command. Where one looks like a flag, "--" says before them that none is.
func Arguments(words ...string) string { return state.Arguments(words...) }

// Holder returns the process that has dir locked. An agent has from the first moment of its start. Holder asks the kernel,
// because trying the lock would turn away an agent that starts at that moment. held is false, too, where the kernel does
// not say.
func Holder(dir string) (h Holding, held bool) { return datadir.Holder(dir) }

// OwnName returns the name in path that this program gives to files of a data directory: the last one, in any folder, or
// one directly in a folder that is a data directory. It is "" when there is none.
func OwnName(path string) string { return datadir.OwnName(path) }

// Check checks the files in dir, which no agent may be using; progress may be nil and counts bytes. A failing disk can kill
// the process that does it: see CheckInChild. It returns ErrNoData when there is no store.
func Check(ctx context.Context, dir string, progress func(done, total int64)) (*CheckReport, error) {
	return repair.Check(ctx, dir, progress)
}

// CheckInChild runs child, which ends in AnswerCheck, and reads its report. A child that was killed, by a signal or by Go's
// runtime, is an error of its own: reading the files would do the same to the caller.
func CheckInChild(ctx context.Context, child *exec.Cmd) (*CheckReport, error) {
	return repair.CheckInChild(ctx, child)
}

// AnswerCheck is the work of a checking process: it checks the files in dir and prints the report.
func AnswerCheck(ctx context.Context, w io.Writer, dir string) error {
	return repair.AnswerCheck(ctx, w, dir)
}

// IsChecking reports whether this process was started by CheckInChild.
func IsChecking() bool { return repair.IsChecking() }

// CreateBackup has fill write a backup of the store in dir, and gives it the name path once it is whole and on disk. A file
// of that name is replaced only if it is a backup itself. A name that the store gives to its own files is refused, because
// the next start would take the backup for one of them.
func CreateBackup(dir, path string, fill func(w io.Writer) error) error {
	return snapshot.CreateBackup(dir, path, fill)
}

// VerifyBackup reads a whole backup and checks every checksum in it; progress may be nil and counts bytes. It returns
// an error when one is wrong, and ErrNewer for a backup of a newer version.
func VerifyBackup(path string, progress func(done, total int64)) (BackupInfo, error) {
	return snapshot.VerifyBackup(path, progress)
}
