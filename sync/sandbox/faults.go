package sandbox

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// activeFaults has the active faults in the order they started.
type activeFaults struct {
	faults []*active
	healed chan struct{} // closed by heal, for hanging requests
}

type active struct {
	Fault
	since time.Time
	seen  int // matching requests
	hits  int // affected requests
}

// effect is the combined effect of the faults on one request.
type effect struct {
	fault  *Fault        // decides the answer, or nil
	delay  time.Duration // sum of all slow faults
	drip   time.Duration // likewise, for the body
	until  time.Time     // end of hanging; zero means until healed
	healed <-chan struct{}
	spec   string // for the record
}

func newFaults() activeFaults { return activeFaults{healed: make(chan struct{})} }

func (t *activeFaults) add(f Fault, now time.Time) {
	t.faults = append(t.faults, &active{Fault: f, since: now})
}

func (t *activeFaults) heal() {
	t.faults = nil
	close(t.healed)
	t.healed = make(chan struct{})
}

// strike decides the effect of the faults on a request. Delays add up. Of the faults that decide the answer
// only the first applies; the others do not count this request.
func (t *activeFaults) strike(c *call) effect {
	m := effect{healed: t.healed}
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
func (t *activeFaults) prune(now time.Time) {
	t.faults = slices.DeleteFunc(t.faults, func(a *active) bool { return a.over(now) })
}

func (t *activeFaults) specs() []string {
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

// takesEffect reports whether the request is checked and applied, whatever its answer.
func (m effect) takesEffect() bool { return m.fault == nil || m.fault.after() }

// hold delays the request as the faults demand, or until the client is gone.
func (m effect) hold(ctx context.Context, latency time.Duration, hang bool, now time.Time) {
	late := latency + m.delay
	switch {
	case !hang && late == 0:
	case !hang:
		pause(ctx, late, nil)
	case m.until.IsZero():
		pause(ctx, forever, m.healed)
	default:
		pause(ctx, m.until.Sub(now), m.healed)
	}
}

const page = "<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n"

// distort applies the fault to an answer.
func (f *Fault) distort(a answer, c *call) answer {
	header := a.header
	switch {
	case f.Reset:
		return answer{}
	case f.Hang:
		return answer{hang: true}
	case f.Redirect != "":
		a = answer{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {f.Redirect}}}
	case f.Error != "":
		r, _ := byType(f.Error)
		r.status, r.kind = http.StatusOK, f.Error
		a = refuse(r, c.ID, false)
	case f.Type != "":
		r, _ := byType(f.Type)
		a = refuse(r, c.ID, c.titled)
	case f.Status != 0 && f.Status != http.StatusOK:
		a = refuse(byStatus(f.Status), c.ID, c.titled)
	case !f.HTML && !f.Truncate: // a user is a poison message
		a = refuse(wrongType, c.ID, false)
	}
	for name, values := range header {
		if a.header.Get(name) == "" {
			a.header[name] = values
		}
	}
	f.dress(&a, c.At)
	return a
}

// dress applies the fault's status, headers and form of the body.
func (f *Fault) dress(a *answer, now time.Time) {
	if f.Status != 0 {
		a.status = f.Status
	}
	if f.HTML {
		a.body = []byte(page)
		a.header.Set("Content-Type", "text/html; charset=utf-8")
	}
	a.truncate = f.Truncate
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		a.body = nil
	}
	if f.RetryAfter > 0 {
		a.header.Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
	}
	if a.status == http.StatusTooManyRequests {
		f.dressLimits(a.header, now)
	}
}

// dressLimits makes the x-ratelimit headers match a 429 of the fault.
func (f *Fault) dressLimits(h http.Header, now time.Time) {
	if f.RateLimit == "none" {
		for _, name := range []string{limitHeader, remainingHeader, resetHeader} {
			h.Del(name)
		}
		return
	}
	reset := f.RetryAfter
	reset = cmp.Or(reset, 30*time.Second)
	h.Set(remainingHeader, "0")
	h.Set(resetHeader, resetValue(now, reset, f.RateLimit == "epoch"))
}
