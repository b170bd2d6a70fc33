package page

import (
	"time"

	"personasync/agent/condition"
	"personasync/store"
)

const (
	// forecastSpan is how much of the past a forecast needs.
	forecastSpan = 10 * time.Minute
	// farAhead is further ahead than an hour's growth can tell.
	farAhead = 365 * 24 * time.Hour
)

// forecast looks ahead from at least one sample. limit is the smaller of MoEngage's limits, in elements a minute.
func forecast(samples []store.Sample, space store.Space, limit int) (f condition.Forecast) {
	first, last := &samples[0], &samples[len(samples)-1]
	f.Drain = "nothing waits"
	if last.Pending > 0 && limit > 0 {
		takes := time.Duration(float64(last.Pending) / float64(limit) * float64(time.Minute))
		f.DrainS = max(int64(takes/time.Second), 1)
		f.Drain = "about " + condition.ForPeople(takes) + " at MoEngage's limits"
	}
	span, growth := last.At.Sub(first.At), last.DataBytes-first.DataBytes
	left := space.FreeBytes - space.FloorBytes
	if space.MaxDataBytes > 0 {
		left = min(left, space.MaxDataBytes/10*9-space.DataBytes)
	}
	switch {
	case left <= 0:
		f.Disk = "no room: events are refused"
	case span < forecastSpan:
		f.Disk = "too early to tell"
	case growth <= 0:
		f.Disk = "the data does not grow"
	default:
		lasts := float64(left) / float64(growth) * float64(span)
		if lasts > float64(farAhead) {
			f.Disk = "more than a year"
			return f
		}
		f.DiskS = int64(time.Duration(lasts) / time.Second)
		f.Disk = "about " + condition.ForPeople(time.Duration(lasts))
	}
	return f
}
