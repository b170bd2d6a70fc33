package query

import (
	"time"

	"personasync/store/engine"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// Expiring counts the parked changes that expire within a week unless an operator acts.
type Expiring struct {
	Count uint64    `json:"count"`
	More  bool      `json:"more"`  // there are more: not all were looked at
	First time.Time `json:"first"` // when the first of them goes
}

// Expiring returns the parked changes about to expire when they are kept for keep, or nil if there are none.
func (v *Reader) Expiring(now time.Time, keep time.Duration) (e *Expiring, err error) {
	if keep <= 0 {
		return nil, nil
	}
	err = v.Look(func(tx engine.Tx) error {
		ids, c := state.EpochsIn(tx), tx.Bucket(state.BucketParked).Cursor()
		k, frame := c.First()
		for n, size := 0, 0; k != nil; k, frame = c.Next() {
			ch, err := state.PeekChange(frame, ids)
			if n, size = n+1, size+len(frame); err != nil {
				continue
			}
			goes := ch.Received.Add(keep)
			if goes.Sub(now) > outbox.NoticeLead {
				return nil
			}
			if e == nil {
				e = &Expiring{First: goes}
			}
			if e.More = n > state.PageScan || size > state.PageBytes; e.More {
				return nil
			}
			e.Count++
		}
		return nil
	})
	return e, err
}
