package sandbox

import (
	"slices"
	"strings"
	"time"
)

// trouble has the active faults in the order they started.
type trouble struct {
	faults []*active
	healed chan struct{} // closed by heal, for hanging requests
}

type active struct {
	Fault
	since time.Time
	seen  int // matching requests
	hits  int // affected requests
}

// misfortune is the combined effect of the faults on one request.
type misfortune struct {
	fault  *Fault        // decides the answer, or nil
	delay  time.Duration // sum of all slow faults
	drip   time.Duration // likewise, for the body
	until  time.Time     // end of hanging; zero means until healed
	healed <-chan struct{}
	spec   string // for the record
}

func newTrouble() trouble { return trouble{healed: make(chan struct{})} }

func (t *trouble) add(f Fault, now time.Time) {
	t.faults = append(t.faults, &active{Fault: f, since: now})
}

func (t *trouble) heal() {
	t.faults = nil
	close(t.healed)
	t.healed = make(chan struct{})
}

// strike decides the effect of the faults on a request. Delays add up. Of the faults that decide the answer
// only the first applies; the others do not count this request.
func (t *trouble) strike(c *call) misfortune {
	m := misfortune{healed: t.healed}
	var specs []string
	for _, a := range t.faults {
		if m.fault != nil && a.ends() || !a.strikes(c) {
			continue
		}
		m.delay += a.Slow
		m.drip += a.Drip
		specs = append(specs, a.String())
		if a.ends() {
			m.fault = &a.Fault
			m.until = a.end()
		}
	}
	m.spec = strings.Join(specs, " ")
	return m
}

// prune removes ended faults.
func (t *trouble) prune(now time.Time) {
	t.faults = slices.DeleteFunc(t.faults, func(a *active) bool { return a.over(now) })
}

func (t *trouble) specs() []string {
	all := []string{}
	for _, a := range t.faults {
		all = append(all, a.String())
	}
	return all
}

func (a *active) end() time.Time {
	if a.For == 0 {
		return time.Time{}
	}
	return a.since.Add(a.For)
}

func (a *active) over(now time.Time) bool {
	return a.Count > 0 && a.hits >= a.Count ||
		a.First > 0 && a.seen >= a.First ||
		a.At > 0 && a.seen >= a.At ||
		a.For > 0 && now.Sub(a.since) >= a.For
}

// strikes counts a request and reports whether the fault affects it.
func (a *active) strikes(c *call) bool {
	if a.On != "" && a.On != c.Endpoint || a.User != "" && !c.names(a.User) {
		return false
	}
	a.seen++
	if a.Every > 1 && a.seen%a.Every != 0 || a.At > 0 && a.seen != a.At {
		return false
	}
	a.hits++
	return true
}
