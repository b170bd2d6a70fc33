package notify

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"personasync/agent/condition"
	"personasync/store"
)

// settle is how long after a start no condition counts as over. A process that has just begun knows of no failure yet.
const settle = 2 * time.Minute

// book compares the conditions with what one receiver was told. It is pure but for its own memory: times are given to it.
//
// A notice that differs has Differs set. It stays in open until its receiver was told that the condition ended, or until
// the condition ends before it was told.
type book struct {
	open map[string]*store.Notice
	want map[string]string              // the state that a notice with Differs is to be told in
	last *store.Notice                  // the message that was told last
	now  map[string]condition.Condition // as seen last; nil: nothing was seen yet

	started time.Time
	changed bool // since it was recorded
}

// newBook continues the record of an earlier run. A time ahead of now is of a clock that was set back since, and must not
// put a message off until the clock gets there.
func newBook(n store.Notices, now time.Time) book {
	b := book{open: map[string]*store.Notice{}, want: map[string]string{}, last: n.Last, started: now}
	for _, one := range n.Open {
		if one.Differs.After(now) {
			one.Differs = now
		}
		b.open[one.Condition] = &one
	}
	return b
}

// observe takes the conditions that hold now.
func (b *book) observe(list []condition.Condition, now time.Time) {
	b.now = make(map[string]condition.Condition, len(list))
	for _, c := range list {
		b.now[c.Name] = c
		if b.open[c.Name] == nil {
			b.open[c.Name] = &store.Notice{Condition: c.Name}
		}
	}
	for _, n := range b.open {
		b.compare(n, now)
	}
}

// graver is the state of a condition that began as told, and is more severe by now.
const graver = "graver"

// compare notes since when a condition is not as told. One that was never told and is over is forgotten.
func (b *book) compare(n *store.Notice, now time.Time) {
	want := b.wanted(n)
	was, known := b.want[n.Condition]
	b.want[n.Condition] = want
	switch {
	case want == "" && n.Told != began:
		delete(b.open, n.Condition)
		delete(b.want, n.Condition)
	case want == "" && !n.Differs.IsZero():
		n.Differs = time.Time{}
	case want != "" && (n.Differs.IsZero() || known && was != want):
		n.Differs = now
	default:
		return
	}
	b.changed = true
}

// wanted is the state that the receiver should be told of; "" if it knows.
func (b *book) wanted(n *store.Notice) string {
	c, holds := b.now[n.Condition]
	switch {
	case holds && n.Told != began:
		return began
	case holds && condition.Weight(c.Severity) > condition.Weight(n.Severity):
		return graver
	case !holds && n.Told == began:
		return ended
	}
	return ""
}

// dueAt is when a notice that differs is to be told.
func (b *book) dueAt(n *store.Notice, after time.Duration) time.Time {
	at := n.Differs.Add(after)
	if _, holds := b.now[n.Condition]; !holds {
		if settled := b.started.Add(settle); settled.After(at) {
			return settled
		}
	}
	return at
}

// due returns the notices to be told now, the gravest first, and how long until another is due; 0: none will be.
func (b *book) due(now time.Time, after time.Duration) (list []*store.Notice, wait time.Duration) {
	if b.now == nil {
		return nil, 0
	}
	for _, n := range b.open {
		if n.Differs.IsZero() {
			continue
		}
		if left := b.dueAt(n, after).Sub(now); left <= 0 {
			list = append(list, n)
		} else if wait == 0 || left < wait {
			wait = left
		}
	}
	slices.SortFunc(list, func(x, y *store.Notice) int {
		return cmp.Or(cmp.Compare(b.weight(y), b.weight(x)), x.Differs.Compare(y.Differs), cmp.Compare(x.Condition, y.Condition))
	})
	return list, wait
}

func (b *book) weight(n *store.Notice) int {
	if c, holds := b.now[n.Condition]; holds {
		return condition.Weight(c.Severity)
	}
	return -1 // an end can wait
}

// message is the content of a notice.
func (b *book) message(c *Config, n *store.Notice) *Message {
	if seen, holds := b.now[n.Condition]; holds {
		return newMessage(c, n, &seen)
	}
	return newMessage(c, n, nil)
}

// told notes that the receiver has taken m. The condition may have changed meanwhile: then it differs from now on.
func (b *book) told(m *Message, now time.Time) {
	n := b.open[m.Condition]
	if n == nil {
		n = &store.Notice{Condition: m.Condition}
		b.open[m.Condition] = n
	}
	n.Severity, n.Told, n.ToldAt, n.Differs = m.Severity, m.State, now.UTC().Truncate(time.Second), time.Time{}
	n.Began, _ = time.Parse(time.RFC3339Nano, m.Since)
	last := *n
	b.last, b.changed = &last, true
	b.compare(n, now)
}

// record is what the store keeps.
func (b *book) record(receiver string) store.Notices {
	n := store.Notices{Receiver: receiver, Last: b.last, Open: []store.Notice{}}
	for _, name := range slices.Sorted(maps.Keys(b.open)) {
		n.Open = append(n.Open, *b.open[name])
	}
	return n
}
