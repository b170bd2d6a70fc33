package state

import (
	"runtime"
	"time"
)

// PageScan bounds how many changes, or users, one read transaction of a listing looks at. A long read transaction
// keeps the writer from reusing pages.
const PageScan = 2000

// PageBytes bounds how many bytes of changes one read transaction looks at: a parked change may hold an event of the
// largest size.
const PageBytes = 4 << 20

// Day is 24 hours; retention and notices are counted in them.
const Day = 24 * time.Hour

// Yield gives up the processor in every 16th round of a long loop. A goroutine that does not yield keeps its
// processor for 10 ms, and acknowledgements wait behind it: with two processors that showed in their 99th
// percentile.
func Yield(i int) {
	if i%16 == 15 {
		runtime.Gosched()
	}
}
