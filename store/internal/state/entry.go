package state

import (
	"bytes"
	"crypto/sha256"
	"time"

	"personasync/store/domain"
)

// What bounds a user's page: the entries of history, and the memberships whose event is looked up.
const (
	HistoryShown = 50
)

// What a computation's calls are kept as. A computation that sends as received keeps identify and
// track apart; all others keep one state, whichever call brings it.
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
	Waiting  Ticket // the attribute change that waits, in a request under way or not, is parked or is held
	InFlight Ticket // one in a request under way that a newer one has overtaken since
	Loose    uint32 // changes that wait in the queue instead, because the computation did not collapse
	Left     uint64 // the record that ended the membership under the guard's eyes, 0 of a member
}

// Newest returns the newest word of what is kept, nil when nothing is.
func (e *Entry) Newest() (s *domain.Assertion) {
	for _, k := range e.Kept {
		if k != nil && (s == nil || k.Time > s.Time || k.Time == s.Time && !k.IsIn()) {
			s = k
		}
	}
	return s
}

// Known returns the word that a new one of the given sort is compared with.
func (e *Entry) Known(sort int) *domain.Assertion {
	if sort == KeptOne {
		return e.Newest()
	}
	if e.Kept[sort] != nil {
		return e.Kept[sort]
	}
	return e.Kept[KeptOne]
}

// Keep writes a word. One state replaces what was kept apart, which is older by then.
func (e *Entry) Keep(sort int, s *domain.Assertion) {
	if sort == KeptOne {
		e.Kept = [3]*domain.Assertion{}
	}
	e.Kept[sort] = s
}

func (e *Entry) empty() bool {
	return e.Kept == [3]*domain.Assertion{} && e.LastSent.Kind == NeverSent && e.Waiting.ID.IsZero() && e.InFlight.ID.IsZero() && e.Loose == 0
}

// Moving reports whether a change of the attribute waits, for MoEngage or for an operator.
func (e *Entry) Moving() bool {
	return !e.Waiting.ID.IsZero() || !e.InFlight.ID.IsZero() || e.Loose > 0
}

// Over reports whether all that is known of a membership is that it ended before a time, and nothing is
// to be said about it any more.
func (e *Entry) Over(before int64) bool {
	for _, s := range e.Kept {
		if s != nil && (s.IsIn() || s.Time >= before) {
			return false
		}
	}
	return e.Newest() != nil && e.SettledOut()
}

// SettledOut reports whether MoEngage knows of no membership by this field, and nothing waits.
func (e *Entry) SettledOut() bool {
	return !e.Moving() && (e.LastSent.Kind == NeverSent || e.LastSent.Is(domain.JSONFalse))
}

// Spoken returns the state that is told in one way: by its own channel, or as one of the two that are kept
// apart; nil when there is none.
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

// Unheard reports whether s is an exit from an audience that MoEngage never knew the user in.
func (e *Entry) Unheard(s *domain.Assertion, p *domain.Policy) bool {
	return !s.IsIn() && e.LastSent.Kind == NeverSent && !p.UnknownExit
}

// Membership returns what there is to tell of a membership as it is now.
func (e *Entry) Membership() (domain.Transition, []byte) {
	if e.Newest().IsIn() {
		return domain.TransitionEnter, domain.JSONTrue
	}
	return domain.TransitionExit, domain.JSONFalse
}

// Expected is what MoEngage should hold: what it was last told, and where that is uncertain, what it
// was to be told. It is not known for a long value that was dropped since.
func (e *Entry) Expected(p *domain.Policy) (value []byte, known bool) {
	if e.LastSent.Kind == NeverSent {
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

// Said is the Assertion that leaves as the attribute.
func (e *Entry) Said(p *domain.Policy) *domain.Assertion {
	if p.Send.Has(domain.SendAttribute) {
		return e.Newest()
	}
	return e.Known(KeptIdentify)
}

// LastSent is what MoEngage was last told about an attribute. Numbers are on disk.
type LastSent struct {
	Kind  byte
	Value []byte // valueSent: the raw JSON; digestSent: the first 16 bytes of the SHA-256 of its canonical text
}

const (
	NeverSent       byte = 0
	UncertainlySent byte = 1 // a request may or may not have arrived
	valueSent       byte = 2
	DigestSent      byte = 3 // a value too long to keep twice
)

func SentValue(v []byte) LastSent {
	if len(v) <= 16 {
		return LastSent{valueSent, bytes.Clone(v)}
	}
	text, _ := domain.Canonical(v)
	return LastSent{DigestSent, digest(text)}
}

func digest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:16]
}

// Is reports whether MoEngage certainly knows just v.
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

// Where a waiting attribute change is kept. Numbers are on disk.
const (
	placePending byte = 0
	PlaceParked  byte = 1
	PlaceHeld    byte = 2
)

// Ticket is an attribute change that waits. While it is pending, the row is all there is of it, so
// that sending it touches the user's own rows and nothing else; parked and held, it points to a change.
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
	Failures   *Failures // nil while there is nothing to tell
}

func (t *Ticket) Pending() bool { return !t.ID.IsZero() && t.Place == placePending }

// Tried reports whether an attempt failed: such a change goes with the user's retry, whatever the
// schedule of its lane.
func (t *Ticket) Tried() bool { return t.Failures != nil && t.Failures.Attempts > 0 }

// Failures is what became of the attempts so far.
type Failures struct {
	Attempts int
	Alone    int // of these, the ones with no other user in the request
	Next     time.Time
	Reason   string
	Sentence string
	Answer   domain.Answer
}
