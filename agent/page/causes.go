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
	// countShare and countPages bound the cost of counting changes by cause: a hundredth of the time, and of each state
	// 400,000 changes or some hundred megabytes of them.
	countShare = 100
	countPages = 100
)

// Cause is how many held changes, or parked events and changes, share a computation and a reason.
type Cause struct {
	State       string `json:"state"` // held | parked
	Reason      string `json:"reason"`
	Computation string `json:"computation"` // its key
	Kinds       string `json:"kinds"`
	Count       uint64 `json:"count"`
	First       string `json:"first"` // receipt of the oldest
	Last        string `json:"last"`  // … and of the newest of them

	Means    string   `json:"means"` // the reason, in a sentence; "" if it is unknown
	Do       string   `json:"do"`
	Commands []string `json:"commands"` // what to type, each whole
}

// uncounted is the cause of held and parked changes beyond countPages.
const uncounted = "uncounted"

// noReason is shown where a change has none.
const noReason = "none"

// causes counts held and parked events and changes by cause. Its methods may be called concurrently.
type causes struct {
	store   *store.Store
	settled func(domain.EventLedger) // receives the ledger at each count; may be nil

	mu      sync.Mutex // covers what follows
	list    []Cause
	counted totals    // the totals when the list was counted
	next    time.Time // no count before this moment
}

// totals change whenever the held and parked events or changes do.
type totals struct{ events, changes, held, left uint64 }

func (c *causes) totals() (totals, error) {
	n, err := c.store.Counts()
	if err == nil && c.settled != nil {
		c.settled(n.Events)
	}
	left := n.Events.Discarded + n.Changes.Dropped + n.Changes.Expired + n.Changes.Delivered + n.Changes.Superseded + n.Changes.Cancelled
	return totals{n.Events.Parked, n.Changes.Parked, n.Changes.Held, left}, err
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

// read counts each state by itself, so that a million held exits do not hide the parked ones.
func (c *causes) read(ctx context.Context, t totals) ([]Cause, error) {
	held, err := c.readState(ctx, domain.StateHeld, t.held)
	if err != nil {
		return nil, err
	}
	parked, err := c.readState(ctx, domain.StateParked, t.events+t.changes)
	return append(held, parked...), err
}

func (c *causes) readState(ctx context.Context, state domain.State, all uint64) ([]Cause, error) {
	if all == 0 {
		return nil, nil
	}
	var lines []domain.StatLine
	cursor := state.String() + ":"
	for page := 0; cursor != "" && page < countPages; page++ {
		if ctx.Err() != nil { // a stop does not wait for gigabytes of parked events
			return nil, ctx.Err()
		}
		some, next, err := c.store.StatsPage(domain.OutboxFilter{State: state}, cursor)
		if err != nil {
			return nil, err
		}
		for i := range some {
			some[i].Cause = "" // MoEngage's words may name a user
		}
		lines, cursor = store.MergeStats(lines, some), next
	}
	causes, counted := byCause(lines)
	if cursor != "" && all > counted {
		causes = append(causes, Cause{State: state.String(), Reason: uncounted, Count: all - counted})
	}
	slices.SortStableFunc(causes, func(a, b Cause) int { return cmp.Compare(b.Count, a.Count) })
	return causes, nil
}

// byCause adds up the lines that differ in their kind alone.
func byCause(lines []domain.StatLine) (list []Cause, counted uint64) {
	type cause struct{ state, reason, computation string }
	place := make(map[cause]int)
	for _, l := range lines {
		counted += l.Count
		at, met := place[cause{l.State, l.Reason, l.Computation}]
		if !met {
			place[cause{l.State, l.Reason, l.Computation}] = len(list)
			list = append(list, Cause{State: l.State, Reason: cmp.Or(l.Reason, noReason), Computation: l.Computation, Kinds: l.Kind, Count: l.Count, First: l.First, Last: l.Last})
			continue
		}
		c := &list[at]
		c.Kinds, c.Count, c.First, c.Last = c.Kinds+", "+l.Kind, c.Count+l.Count, min(c.First, l.First), max(c.Last, l.Last)
	}
	return list, counted
}

// all lists the causes: held ones, then parked ones, the most frequent first.
func (c *causes) all() []Cause {
	c.mu.Lock()
	defer c.mu.Unlock()
	return condition.Whole(slices.Clone(c.list))
}

// parkedByReason adds up the parked causes by reason code.
func (c *causes) parkedByReason() map[string]uint64 {
	sums := make(map[string]uint64)
	for _, one := range c.all() {
		if one.State != domain.StateHeld.String() {
			sums[one.Reason] += one.Count
		}
	}
	return sums
}
