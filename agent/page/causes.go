package page

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

const (
	// countShare and countPages bound the cost of counting parked changes by cause: a hundredth of the time, and 400,000
	// changes or some hundred megabytes of them.
	countShare = 100
	countPages = 100
)

// Cause is how many parked events and changes share a computation and a reason.
type Cause struct {
	Reason      string `json:"reason"`
	Computation string `json:"computation"`
	Kind        string `json:"kind"`
	Count       uint64 `json:"count"`
}

// uncounted is the cause of parked changes beyond countPages.
const uncounted = "uncounted"

// causes counts parked events and changes by cause. Its methods may be called concurrently.
type causes struct {
	store   *store.Store
	settled func(domain.EventLedger) // receives the ledger at each count; may be nil

	mu      sync.Mutex // covers what follows
	list    []Cause
	counted parkedTotals // the totals when the list was counted
	next    time.Time    // no count before this moment
}

// parkedTotals change whenever the parked events or changes do.
type parkedTotals struct{ events, changes, left uint64 }

func (t parkedTotals) parked() uint64 { return t.events + t.changes }

func (c *causes) totals() (parkedTotals, error) {
	n, err := c.store.Counts()
	if err == nil && c.settled != nil {
		c.settled(n.Events)
	}
	return parkedTotals{n.Events.Parked, n.Changes.Parked, n.Events.Discarded + n.Changes.Dropped + n.Changes.Expired + n.Changes.Delivered}, err
}

// count counts again if the totals changed and the last count was long enough ago.
func (c *causes) count(ctx context.Context, now time.Time) error {
	t, err := c.totals()
	if err != nil {
		return err
	}
	c.mu.Lock()
	due := t != c.counted && !now.Before(c.next)
	c.mu.Unlock()
	if !due {
		return nil
	}
	list, err := c.read(ctx, t)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list, c.counted = list, t
	c.next = now.Add(countShare * time.Since(now))
	return nil
}

func (c *causes) read(ctx context.Context, t parkedTotals) ([]Cause, error) {
	if t.parked() == 0 {
		return nil, nil
	}
	var lines []domain.StatLine
	cursor := domain.StateParked.String() + ":"
	for page := 0; cursor != "" && page < countPages; page++ {
		if ctx.Err() != nil { // a stop does not wait for gigabytes of parked events
			return nil, ctx.Err()
		}
		some, next, err := c.store.StatsPage(domain.OutboxFilter{}, cursor)
		if err != nil {
			return nil, err
		}
		for i := range some {
			some[i].Cause = "" // MoEngage's words may name a user
		}
		lines, cursor = store.MergeStats(lines, some), next
	}
	var causes []Cause
	counted := uint64(0)
	for _, l := range lines {
		causes = append(causes, Cause{Reason: cmp.Or(l.Reason, "none"), Computation: l.Computation, Kind: l.Kind, Count: l.Count})
		counted += l.Count
	}
	if all := t.parked(); cursor != "" && all > counted {
		causes = append(causes, Cause{Reason: uncounted, Count: all - counted})
	}
	slices.SortStableFunc(causes, func(a, b Cause) int { return cmp.Compare(b.Count, a.Count) })
	return causes, nil
}

// parked lists the causes, the most frequent first.
func (c *causes) parked() []Cause {
	c.mu.Lock()
	defer c.mu.Unlock()
	return condition.Whole(slices.Clone(c.list))
}

// byReason adds up the causes by reason code.
func (c *causes) byReason() map[string]uint64 {
	sums := make(map[string]uint64)
	for _, one := range c.parked() {
		sums[one.Reason] += one.Count
	}
	return sums
}
