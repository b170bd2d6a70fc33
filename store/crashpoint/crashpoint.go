package crashpoint

import "sync/atomic"

// A Point lies between two writes. It is named after the write that was completed last.
type Point string

const (
	SegmentNamed   Point = "segment named" // the directory is not synced yet
	InboxCommitted Point = "inbox committed"
	StateWritten   Point = "state written" // not committed
	StateCommitted Point = "state committed"
	InboxTrimmed   Point = "inbox trimmed"

	RequestReady Point = "request ready" // its flight is on disk
	AnswerRead   Point = "answer read"
	Settled      Point = "settled"

	CompactionBegun    Point = "compaction begun"
	CompactionCopied   Point = "compaction copied"
	CompactionReplayed Point = "compaction replayed"
	CompactionSynced   Point = "compaction synced"
	CompactionRenamed  Point = "compaction renamed"
	CompactionSwapped  Point = "compaction swapped"

	BackupSynced Point = "backup synced"
	BackupNamed  Point = "backup named"

	RestoreAside  Point = "restore aside"
	RestorePlaced Point = "restore placed"
	RestoreMoved  Point = "restore moved"

	MigrationCopied  Point = "migration copied"
	MigrationWritten Point = "migration written" // not committed
)

// atPoint is the registered function, nil in the product.
var atPoint atomic.Pointer[func(Point)]

// OnPoint registers f, which is called at every Point from now on, in the goroutine that reached it. Nil
// removes it.
func OnPoint(f func(Point)) {
	if f == nil {
		atPoint.Store(nil)
		return
	}
	atPoint.Store(&f)
}

// Reach reports that a Point is reached.
func Reach(p Point) {
	if f := atPoint.Load(); f != nil {
		(*f)(p)
	}
}
