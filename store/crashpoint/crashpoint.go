package crashpoint

import "sync/atomic"

// A Point lies between two writes: a crash there leaves the one without the other. Each bears the name
// of what was done last.
type Point string

const (
	PointSegmentNamed Point = "segment named" // its name is not on disk yet
	PointAppended     Point = "inbox committed"
	PointStateWritten Point = "state written" // not committed
	PointCommitted    Point = "state committed"
	PointTrimmed      Point = "inbox trimmed"

	PointDeparting Point = "request ready" // its flight is on disk
	PointAnswered  Point = "answer read"
	PointSettled   Point = "settled"

	PointCompactBegun    Point = "compaction begun"
	PointCompactCopied   Point = "compaction copied"
	PointCompactReplayed Point = "compaction replayed"
	PointCompactSynced   Point = "compaction synced"
	PointCompactRenamed  Point = "compaction renamed"
	PointCompactSwapped  Point = "compaction swapped"

	PointBackupSynced Point = "backup synced"
	PointBackupNamed  Point = "backup named"

	PointRestoreAside  Point = "restore aside"
	PointRestorePlaced Point = "restore placed"
	PointRestoreMoved  Point = "restore moved"

	PointMigrationCopied  Point = "migration copied"
	PointMigrationWritten Point = "migration written" // not committed
)

var atPoint atomic.Pointer[func(Point)]

// OnPoint has f called at every Point from now on, for tests that end the process there; nil ends that.
func OnPoint(f func(Point)) {
	if f == nil {
		atPoint.Store(nil)
		return
	}
	atPoint.Store(&f)
}

// Reach says that a Point is reached. In the product nobody listens, and it costs a load.
func Reach(p Point) {
	if f := atPoint.Load(); f != nil {
		(*f)(p)
	}
}
