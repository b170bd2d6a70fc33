package inspect

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAListingGivesWayToEventsOnly(t *testing.T) {
	for _, c := range []struct {
		name     string
		received func(part uint64) uint64
		patience time.Duration
		parts    uint64
		took     time.Duration
	}{
		{"nothing comes in", func(uint64) uint64 { return 7 }, time.Minute, 10, 10 * time.Millisecond},
		{"events come in", func(part uint64) uint64 { return part }, time.Minute, 10, (10 + 9*paceShare) * time.Millisecond},
		{"events come in, and the caller will not wait for ever", func(part uint64) uint64 { return part }, 100 * time.Millisecond, 10, 110 * time.Millisecond},
		{"an event comes now and then", func(part uint64) uint64 { return part / 5 }, time.Minute, 10, (10 + paceShare) * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				part := uint64(0)
				p := &pacer{received: func() uint64 { return c.received(part) }, seen: c.received(0)}
				began, patience := time.Now(), c.patience
				for ; part < c.parts; part++ {
					var err error
					if patience, err = p.begin(t.Context(), patience); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
					p.end(time.Millisecond)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("%d parts of 1 ms took %v, want %v", c.parts, took, c.took)
				}
			})
		})
	}
}
