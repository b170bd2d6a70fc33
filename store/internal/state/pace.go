package state

import (
	"runtime"
)

// Yield lets others run now and then in a long loop. Left to itself a goroutine keeps its processor for
// 10 ms, and as many acknowledgements wait behind it: with two processors that showed in their 99th
// percentile.
func Yield(i int) {
	if i%16 == 15 {
		runtime.Gosched()
	}
}
