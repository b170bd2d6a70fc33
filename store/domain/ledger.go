package domain

// EventLedger counts accepted events by outcome. Accepted is the sum of the other columns, in every transaction.
type EventLedger struct {
	Accepted    uint64 `json:"accepted"`
	Transitions uint64 `json:"transitions"`
	Unchanged   uint64 `json:"unchanged"`
	Duplicate   uint64 `json:"duplicate"`
	Stale       uint64 `json:"stale"`
	Ignored     uint64 `json:"ignored"`
	Parked      uint64 `json:"parked"`
	Discarded   uint64 `json:"discarded"`
	Lost        uint64 `json:"lost"` // to damage, before they were applied
}

// Outcome is the ledger column an accepted event is counted under. When an event has several, the largest wins. The
// number plus one is stored.
type Outcome uint8

const (
	OutcomeIgnored Outcome = iota
	OutcomeStale
	OutcomeDuplicate
	OutcomeUnchanged
	OutcomeTransition
	OutcomeParked
)

// Count adds an event to the column of its outcome.
func (l *EventLedger) Count(came Outcome) {
	switch came {
	case OutcomeTransition:
		l.Transitions++
	case OutcomeUnchanged:
		l.Unchanged++
	case OutcomeDuplicate:
		l.Duplicate++
	case OutcomeStale:
		l.Stale++
	case OutcomeParked:
		l.Parked++
	case OutcomeIgnored:
		l.Ignored++
	}
}

// Sum returns the sum of all columns but Accepted.
func (l *EventLedger) Sum() uint64 {
	return l.Transitions + l.Unchanged + l.Duplicate + l.Stale + l.Ignored + l.Parked + l.Discarded + l.Lost
}

// Balances reports whether Accepted is the sum of the other columns.
func (l *EventLedger) Balances() bool { return l.Accepted == l.Sum() }

// ChangeLedger counts changes by state. Created is the sum of the other columns, in every transaction.
type ChangeLedger struct {
	Created    uint64 `json:"created"`
	Delivered  uint64 `json:"delivered"`
	Superseded uint64 `json:"superseded"`
	Cancelled  uint64 `json:"cancelled"`
	Dropped    uint64 `json:"dropped"`
	Expired    uint64 `json:"expired"`
	Withheld   uint64 `json:"withheld"` // for lack of consent
	Forgotten  uint64 `json:"forgotten"`
	Pending    uint64 `json:"pending"`
	Held       uint64 `json:"held"`
	Parked     uint64 `json:"parked"`
	Lost       uint64 `json:"lost"` // to damage
}

// Column returns the column that counts changes in state s.
func (c *ChangeLedger) Column(s State) *uint64 {
	switch s {
	case StatePending:
		return &c.Pending
	case StateHeld:
		return &c.Held
	case StateParked:
		return &c.Parked
	case StateDelivered:
		return &c.Delivered
	case StateSuperseded:
		return &c.Superseded
	case StateCancelled:
		return &c.Cancelled
	case StateDropped:
		return &c.Dropped
	case StateWithheld:
		return &c.Withheld
	default:
		return &c.Expired
	}
}

// Sum returns the sum of all columns but Created.
func (l *ChangeLedger) Sum() uint64 {
	return l.Delivered + l.Superseded + l.Cancelled + l.Dropped + l.Expired + l.Withheld + l.Forgotten + l.Pending + l.Held + l.Parked + l.Lost
}

// Balances reports whether Created is the sum of the other columns.
func (l *ChangeLedger) Balances() bool { return l.Created == l.Sum() }

// Backlog counts pending changes as MoEngage's limits count them: users with pending attributes, events, and members
// of cohorts.
type Backlog struct {
	Users   uint64 `json:"users"`
	Events  uint64 `json:"events"`
	Members uint64 `json:"members"`
}

// Move replaces the part of one user.
func (b *Backlog) Move(was, now Backlog) {
	for _, term := range [...]struct {
		total    *uint64
		was, now uint64
	}{{&b.Users, was.Users, now.Users}, {&b.Events, was.Events, now.Events}, {&b.Members, was.Members, now.Members}} {
		*term.total += term.now
		*term.total -= min(*term.total, term.was)
	}
}

// outcomeNames are the names of the columns.
var outcomeNames = map[Outcome]string{
	OutcomeIgnored: "ignored", OutcomeStale: "stale", OutcomeDuplicate: "duplicate", OutcomeUnchanged: "unchanged", OutcomeTransition: "transition", OutcomeParked: "parked",
}

// String returns the name of the column, "" for OutcomeUnknown.
func (f Outcome) String() string { return outcomeNames[f] }

// OutcomeUnknown is the outcome of a record that a version applied which did not store outcomes.
const OutcomeUnknown Outcome = 255
