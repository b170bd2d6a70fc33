package ingest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"personasync/store/domain"
)

// Intake counts the requests and events of the last hour, for the conditions. A running agent has one, and its
// counts begin with the process.
type Intake struct {
	Since  time.Time     `json:"since"` // of the counts: an hour ago, or the start
	Routes []IntakeRoute `json:"routes"`

	WebhookEvents   uint64 `json:"webhook_events"`   // accepted on the webhook route
	WebhookOrdinary uint64 `json:"webhook_ordinary"` // of these, the ones without a computation, which are ignored
	NoPersonas      uint64 `json:"no_personas"`      // of the ordinary ones, those without context.personas
	Alike           uint64 `json:"alike"`            // of the ordinary ones, those that look like an audience's
	AlikeKey        string `json:"alike_key"`        // a known key under which one of these has a value, or ""
	OrdinaryRun     uint64 `json:"ordinary_run"`     // ordinary events since the last webhook event with a computation

	Settled uint64 `json:"settled"` // events applied, on every route
	Ignored uint64 `json:"ignored"` // of the applied events
}

// IntakeRoute counts the requests of one route.
type IntakeRoute struct {
	Route        string    `json:"route"` // webhook, tracking, other
	Accepted     uint64    `json:"accepted"`
	Lost         uint64    `json:"lost"`                   // deliveries refused for good
	Strangers    uint64    `json:"strangers"`              // of these, the ones whose sender does not look like Segment
	Deferred     uint64    `json:"deferred"`               // answered with 5xx, so Segment retries them
	LastAccepted time.Time `json:"last_accepted,omitzero"` // absent if none was since the start
	LastDeferred time.Time `json:"last_deferred,omitzero"`
	DeferredCode string    `json:"deferred_code,omitempty"` // of the last deferred request
	DeferredFrom time.Time `json:"deferred_from,omitzero"`  // time of the first deferred request since the last accepted one
}

// intakeWindow is the time that an Intake covers.
const intakeWindow = time.Hour

// intake counts requests and events by the minute. Its methods may be called concurrently.
type intake struct {
	mu      sync.Mutex
	start   time.Time
	minutes [intakeWindow / time.Minute]intakeMinute
	last    [len(Routes)]intakeLast
	ledger  *domain.EventLedger // as of the last call of applied, nil before the first
	run     uint64              // see Intake.OrdinaryRun
	keys    [][]byte            // quoted, of the known audiences
	key     string              // see Intake.AlikeKey
}

// transitionNames are Segment's names for the events of audiences and traits.
var transitionNames = [][]byte{[]byte(`"Audience Entered"`), []byte(`"Audience Exited"`), []byte(`"Trait Computed"`)}

// mostAlike limits how many ordinary events a minute are searched for known keys.
const mostAlike = 64

// know sets the known computations.
func (in *intake) know(seen []domain.ComputationInfo) {
	keys := make([][]byte, 0, len(seen))
	for _, c := range seen {
		if quoted, err := json.Marshal(c.Key); err == nil && c.Key != "" && c.Class == domain.ClassAudience.String() {
			keys = append(keys, quoted)
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.keys = keys
}

// alike reports whether an event without a computation looks like one of an audience, and by which key. The caller
// holds mu.
func (in *intake) alike(e *domain.Event) (key string, yes bool) {
	if i := slices.IndexFunc(in.keys, func(key []byte) bool { return hasFlag(e.Raw, key) }); i >= 0 {
		_ = json.Unmarshal(in.keys[i], &key)
		return key, true
	}
	return "", slices.ContainsFunc(transitionNames, func(name []byte) bool { return bytes.Contains(e.Raw, name) })
}

// hasFlag reports whether a text has a key with a boolean as its value.
func hasFlag(text, key []byte) bool {
	_, rest, found := bytes.Cut(text, key)
	rest, colon := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":"))
	rest = bytes.TrimLeft(rest, " \t\r\n\"")
	return found && colon && (bytes.HasPrefix(rest, []byte("true")) || bytes.HasPrefix(rest, []byte("false")))
}

type intakeMinute struct {
	at                              int64 // since 1970
	accepted, lost, alien, deferred [len(Routes)]uint64
	events, ordinary, personas      uint64
	alike, looked                   uint64
	settled, ignored                uint64
}

type intakeLast struct {
	accepted, deferred, from time.Time
	code                     string
}

func newIntake(start time.Time) *intake { return &intake{start: start} }

// minute returns the counts of the minute of now. The caller holds mu.
func (in *intake) minute(now time.Time) *intakeMinute {
	at := now.Unix() / 60
	m := &in.minutes[uint64(at)%uint64(len(in.minutes))]
	if m.at != at {
		*m = intakeMinute{at: at}
	}
	return m
}

// answered counts an answer. lost means that a delivery was refused. alien means that its sender does not look like
// Segment.
func (in *intake) answered(route int, a answer, lost, alien bool, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	m, last := in.minute(now), &in.last[route]
	switch {
	case lost:
		m.lost[route]++
		if alien {
			m.alien[route]++
		}
	case a.status >= http.StatusInternalServerError:
		m.deferred[route]++
		if last.deferred, last.code = now, a.code; last.from.IsZero() {
			last.from = now
		}
	case a.status == http.StatusOK:
		m.accepted[route]++
		last.accepted, last.from = now, time.Time{}
	}
}

// webhook counts the events of an accepted webhook delivery, and how many of them have no computation.
func (in *intake) webhook(events []*domain.Event, now time.Time) {
	ordinary, without, row := uint64(0), uint64(0), uint64(0)
	for _, e := range events {
		row++
		if !isOrdinary(e) {
			row = 0
		} else {
			ordinary++
			if !bytes.Contains(e.Raw, []byte(`"personas"`)) {
				without++
			}
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	m := in.minute(now)
	m.events += uint64(len(events))
	m.ordinary += ordinary
	m.personas += without
	for _, e := range events {
		if m.looked >= mostAlike || !isOrdinary(e) {
			continue
		}
		m.looked++
		if key, yes := in.alike(e); yes {
			m.alike++
			in.key = key
		}
	}
	if in.run += row; row < uint64(len(events)) {
		in.run = row
	}
}

// isOrdinary reports whether an event has no computation and is therefore ignored.
func isOrdinary(e *domain.Event) bool {
	return e.Class == domain.ClassNone && e.Fault == "" && e.Call != domain.CallDelete
}

// applied adds the growth of the ledger since the last call.
func (in *intake) applied(l domain.EventLedger, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ledger != nil {
		m := in.minute(now)
		m.settled += l.Accepted - min(in.ledger.Accepted, l.Accepted) // after a restore the ledger counts less
		m.ignored += l.Ignored - min(in.ledger.Ignored, l.Ignored)
	}
	in.ledger = &l
}

// lately sums up the window that ends at now.
func (in *intake) lately(now time.Time) *Intake {
	in.mu.Lock()
	defer in.mu.Unlock()
	from := now.Add(-intakeWindow)
	if in.start.After(from) {
		from = in.start
	}
	sum := &Intake{Since: from.UTC().Truncate(time.Second), OrdinaryRun: in.run, AlikeKey: in.key, Routes: make([]IntakeRoute, len(Routes))}
	for i, name := range Routes {
		last := &in.last[i]
		sum.Routes[i] = IntakeRoute{Route: name, LastAccepted: last.accepted.UTC(), LastDeferred: last.deferred.UTC(), DeferredCode: last.code, DeferredFrom: last.from.UTC()}
	}
	for i := range in.minutes {
		m := &in.minutes[i]
		if age := now.Unix()/60 - m.at; age < 0 || age >= int64(len(in.minutes)) {
			continue
		}
		for r := range sum.Routes {
			sum.Routes[r].Accepted += m.accepted[r]
			sum.Routes[r].Lost += m.lost[r]
			sum.Routes[r].Strangers += m.alien[r]
			sum.Routes[r].Deferred += m.deferred[r]
		}
		sum.WebhookEvents += m.events
		sum.WebhookOrdinary += m.ordinary
		sum.NoPersonas += m.personas
		sum.Alike += m.alike
		sum.Settled += m.settled
		sum.Ignored += m.ignored
	}
	return sum
}
