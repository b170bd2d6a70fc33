package crashpoint

import "sync/atomic"

// A Point is a place between two writes, named after the write that completed last.
type Point string

// The points of the store and the sender. A crash at one leaves the named write done and the next one undone.
const (
	SegmentNamed   Point = "segment named" // directory not synced yet
	InboxCommitted Point = "inbox committed"
	StateWritten   Point = "state written" // not committed
	StateCommitted Point = "state committed"
	InboxTrimmed   Point = "inbox trimmed"

	RequestReady Point = "request ready" // its lease is on disk
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

	MoveCopied Point = "move copied" // and proven; no mark says so yet
	MoveLeft   Point = "move left"
	MovePlaced Point = "move placed"

	MigrationCopied  Point = "migration copied"
	MigrationWritten Point = "migration written" // not committed
)

// atPoint is the registered function. It is nil in production.
var atPoint atomic.Pointer[func(Point)]

// OnPoint registers f to be called at every Point, on the goroutine that reaches it. It replaces the function
// registered before; nil removes it. It is safe for concurrent use.
func OnPoint(f func(Point)) {
	if f == nil {
		atPoint.Store(nil)
		return
	}
	atPoint.Store(&f)
}

// Reach calls the registered function, if any, with p. It is safe for concurrent use.
func Reach(p Point) {
	if f := atPoint.Load(); f != nil {
		(*f)(p)
	}
}
