package page

import (
	"time"

	"personasync/store"
)

// enoughDeliveries is how many minutes with events a day needs before its pauses mean anything.
const enoughDeliveries = 100

// wholeDay is how much of the past must be known. An agent that has seen no night knows no usual pause.
const wholeDay = minutesKept - 4*time.Hour

// longestPause is the longest time between two minutes with events. Times without samples, when the agent was stopped, do
// not count.
func longestPause(minutes []store.Sample) (longest time.Duration) {
	var last time.Time
	busy := 0
	for i := range minutes[min(1, len(minutes)):] {
		before, now := &minutes[i], &minutes[i+1]
		if now.At.Sub(before.At) > 3*time.Minute {
			last = time.Time{}
		}
		if now.Received <= before.Received {
			continue
		}
		if busy++; !last.IsZero() {
			longest = max(longest, now.At.Sub(last))
		}
		last = now.At
	}
	if busy < enoughDeliveries || minutes[len(minutes)-1].At.Sub(minutes[0].At) < wholeDay {
		return 0
	}
	return max(longest, time.Minute)
}
