package state

import (
	"runtime"
	"time"
)

// PageScan bounds how many changes, or users, one read transaction of a listing looks at, so that no
// writer waits for a reader.
const PageScan = 2000

// PageBytes bounds how many bytes of changes that is: a parked one may hold an event of the largest size.
const PageBytes = 4 << 20

const Day = 24 * time.Hour

// Yield lets others run now and then in a long loop. Left to itself a goroutine keeps its processor for
// 10 ms, and as many acknowledgements wait behind it: with two processors that showed in their 99th
// percentile.
func Yield(i int) {
	if i%16 == 15 {
		runtime.Gosched()
	}
}
