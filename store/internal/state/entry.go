package state

import (
	"bytes"
	"crypto/sha256"
	"time"

	"personasync/store/domain"
)

// HistoryShown bounds the history entries that are read for one user's page, or looked through for one repair.
const (
	HistoryShown = 50
)

// A computation that sends as received keeps the assertions of identify and of track apart. All others keep one,
// whichever call brings it. The values are indexes of Entry.Kept, and bits of Field.Heard.
const (
	KeptOne      = 0
	KeptIdentify = 1
	KeptTrack    = 2
)

// Entry is everything kept of one user and one field.
type Entry struct {
	Column   uint8 // field number modulo blockSize
	Kept     [3]*domain.Assertion
	LastSent LastSent
	Waiting  Ticket // the open attribute change: pending, in-flight, parked or held
	InFlight Ticket // an in-flight change that a newer one has overtaken
	Loose    uint32 // changes in the queue instead, because the computation does not collapse
	Withheld bool   // MoEngage is not told of the membership, or of the value, because the user's consent is missing
	Left     uint64 // the record that ended the membership, as the guard counted it; 0 for a member
}

// Newest returns the newest assertion of e, nil when there is none. Of two of one time an exit wins.
func (e *Entry) Newest() (s *domain.Assertion) {
	for _, k := range e.Kept {
		if k != nil && (s == nil || k.Time > s.Time || k.Time == s.Time && !k.IsIn()) {
			s = k
		}
	}
	return s
}

// Known returns the assertion that a new one of the given sort is compared with, nil when there is none.
func (e *Entry) Known(sort int) *domain.Assertion {
	if sort == KeptOne {
		return e.Newest()
	}
	if e.Kept[sort] != nil {
		return e.Kept[sort]
	}
	return e.Kept[KeptOne]
}

// Keep sets the assertion of a sort. KeptOne replaces those that were kept apart, which are older by then.
func (e *Entry) Keep(sort int, s *domain.Assertion) {
	if sort == KeptOne {
		e.Kept = [3]*domain.Assertion{}
	}
	e.Kept[sort] = s
}

// empty reports whether nothing of e needs a place in the row.
func (e *Entry) empty() bool {
	return e.Kept == [3]*domain.Assertion{} && e.LastSent.Kind == NeverSent && e.Waiting.ID.IsZero() && e.InFlight.ID.IsZero() && e.Loose == 0
}

// Moving reports whether a change of the entry is pending, parked or held.
func (e *Entry) Moving() bool {
	return !e.Waiting.ID.IsZero() || !e.InFlight.ID.IsZero() || e.Loose > 0
}

// Over reports whether a membership ended before a time, in ns, and nothing is left to send about it. Such an entry
// can be pruned.
func (e *Entry) Over(before int64) bool {
	for _, s := range e.Kept {
		if s != nil && (s.IsIn() || s.Time >= before) {
			return false
		}
	}
	return e.Newest() != nil && e.SettledOut()
}

// SettledOut reports whether MoEngage knows of no membership by this field, and no change of it is open.
func (e *Entry) SettledOut() bool {
	return !e.Moving() && (e.LastSent.Kind == NeverSent || e.LastSent.Is(domain.JSONFalse))
}

// Spoken returns the assertion that one way of sending follows, nil when there is none: that of its own method, or
// one of the two that are kept apart.
func (e *Entry) Spoken(p *domain.Policy, channel domain.SendMethods, sort int) *domain.Assertion {
	switch {
	case p.Send.Has(domain.SendAsReceived) && sort == KeptIdentify:
		return e.Known(sort)
	case p.Send.Has(domain.SendAsReceived):
		return e.Kept[sort]
	case p.Send.Has(channel):
		return e.Newest()
	}
	return nil
}

// Unheard reports whether s is an exit from an audience in which MoEngage never knew the user.
func (e *Entry) Unheard(s *domain.Assertion, p *domain.Policy) bool {
	return !s.IsIn() && e.LastSent.Kind == NeverSent && !p.UnknownExit
}

// Membership returns the transition and the value that describe the membership as it is now.
func (e *Entry) Membership() (domain.Transition, []byte) {
	if e.Newest().IsIn() {
		return domain.TransitionEnter, domain.JSONTrue
	}
	return domain.TransitionExit, domain.JSONFalse
}

// Expected returns the value that MoEngage should hold: the last one sent, or the one that an uncertain request
// carried. known is false for a long value of which only the digest is kept, and for an uncertain removal that an operator
// dropped.
func (e *Entry) Expected(p *domain.Policy) (value []byte, known bool) {
	if e.LastSent.Kind == NeverSent || e.Withheld && e.LastSent.Kind == UncertainlySent {
		return nil, false
	}
	if s := e.Said(p); s != nil {
		value = s.Value
		if bytes.Equal(value, domain.JSONNull) && p.OnNull == domain.NullEmpty {
			value = domain.JSONEmpty
		}
		if e.LastSent.Is(value) || e.LastSent.Kind == UncertainlySent {
			return value, true
		}
	}
	return e.LastSent.Value, e.LastSent.Kind == valueSent
}

// Said returns the assertion that is sent as the attribute, nil when there is none.
func (e *Entry) Said(p *domain.Policy) *domain.Assertion {
	if p.Send.Has(domain.SendAttribute) {
		return e.Newest()
	}
	return e.Known(KeptIdentify)
}

// LastSent is the value that MoEngage last accepted of an attribute, as far as that is known.
type LastSent struct {
	Kind  byte
	Value []byte // valueSent: the raw JSON; digestSent: the first 16 bytes of the SHA-256 of its canonical text
}

// The kinds of LastSent. Numbers are on disk.
const (
	NeverSent       byte = 0
	UncertainlySent byte = 1 // a request may or may not have arrived
	valueSent       byte = 2
	DigestSent      byte = 3 // a value too long to keep twice
)

// SentValue returns a LastSent of a delivered value. A long one is kept as a digest of its canonical text.
func SentValue(v []byte) LastSent {
	if len(v) <= 16 {
		return LastSent{valueSent, domain.CloneValue(v)}
	}
	text, _ := domain.Canonical(v)
	return LastSent{DigestSent, digest(text)}
}

func digest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:16]
}

// Is reports whether MoEngage certainly holds v.
func (t LastSent) Is(v []byte) bool {
	switch t.Kind {
	case valueSent:
		return domain.SameValue(t.Value, v)
	case DigestSent:
		text, _ := domain.Canonical(v)
		return bytes.Equal(t.Value, digest(text)) || bytes.Equal(t.Value, digest(v)) // older versions took the text as it came
	}
	return false
}

// Where the change of a ticket is kept. Numbers are on disk.
const (
	placePending byte = 0
	PlaceParked  byte = 1
	PlaceHeld    byte = 2
)

// Ticket is an attribute change that is not closed yet. While it is pending, the row is its only copy, so that
// sending it writes the user's own rows and nothing else. While it is parked or held, it points to the change.
type Ticket struct {
	ID         domain.ID
	Place      byte // one of the place constants
	Transition domain.Transition
	Lane       uint32
	Due        uint32 // unix second of receipt
	Value      []byte
	Name       string // in MoEngage
	Time       int64  // event time to send, ns
	Received   int64  // ns
	Message    string
	Failures   *Failures // nil before the first failure
}

// Pending reports whether the ticket is a pending change, in-flight or not.
func (t *Ticket) Pending() bool { return !t.ID.IsZero() && t.Place == placePending }

// Tried reports whether an attempt failed. Such a change leaves with the user's retry, whatever the schedule of its
// lane.
func (t *Ticket) Tried() bool { return t.Failures != nil && t.Failures.Attempts > 0 }

// Failures is the record of the attempts that failed so far.
type Failures struct {
	Attempts int
	Alone    int // attempts with no other user in the request
	Next     time.Time
	Reason   string
	Sentence string
	Answer   domain.Answer
}
