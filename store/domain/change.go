package domain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ID names one change, or one parked event, forever: the store's epoch, the number of the inbox
// record that caused it, and a slot within that record. It is never reused and holds nothing of the
// user. Its text form is stable and opaque: "9c41e2f0-3e8-0".
type ID struct {
	Epoch uint32
	Seq   uint64
	Slot  uint16
}

// String returns the text form that people and MoEngage (event attribute change_id) see.
func (id ID) String() string {
	return fmt.Sprintf("%08x-%x-%x", id.Epoch, id.Seq, id.Slot)
}

// Compare orders ids as their changes were made.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Epoch, other.Epoch), cmp.Compare(id.Seq, other.Seq), cmp.Compare(id.Slot, other.Slot))
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads the text form.
func ParseID(s string) (ID, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return ID{}, fmt.Errorf("%q is not a change id: it looks like 9c41e2f0-3e8-0", s)
	}
	var n [3]uint64
	for i, bits := range []int{32, 64, 16} {
		v, err := strconv.ParseUint(parts[i], 16, bits)
		if err != nil {
			return ID{}, fmt.Errorf("%q is not a change id: it looks like 9c41e2f0-3e8-0", s)
		}
		n[i] = v
	}
	return ID{Epoch: uint32(n[0]), Seq: n[1], Slot: uint16(n[2])}, nil
}

// Kind is what a change becomes at MoEngage. Numbers are on disk.
type Kind uint8

const (
	KindAttribute Kind = 1
	KindEvent     Kind = 2
	KindCohort    Kind = 3
	KindList      Kind = 4
	KindReceived  Kind = 5 // not a change: a received event that could not be used
	KindDelete    Kind = 6 // the user is to be deleted at MoEngage; see Deletion
)

var kindNames = [...]string{"", "attribute", "event", "cohort", "list", "received", "delete"}

// String returns the name in JSON.
func (k Kind) String() string { return word(kindNames[:], k) }

// State is where a change is in its life. Numbers are on disk.
type State uint8

const (
	StatePending    State = 1 // waiting, or in lease
	StateHeld       State = 2 // an operator must decide
	StateParked     State = 3 // cannot be sent as it is; kept with the reason
	StateDelivered  State = 4
	StateSuperseded State = 5 // a newer value took its place
	StateCancelled  State = 6 // no net change remained
	StateDropped    State = 7 // an operator threw it away
	StateExpired    State = 8 // parked longer than retention.parked
	StateWithheld   State = 9 // the user has not given the consent that its computation asks for
)

var stateNames = [...]string{"", "pending", "held", "parked", "delivered", "superseded", "cancelled", "dropped", "expired", "withheld"}

// String returns the name in JSON and on the command line.
func (s State) String() string { return word(stateNames[:], s) }

// StateNames lists the names of all states. The list is the caller's.
func StateNames() []string { return slices.Clone(stateNames[1:]) }

// ParseState reads a state's name.
func ParseState(name string) (State, bool) {
	for i, n := range stateNames {
		if n == name && i > 0 {
			return State(i), true
		}
	}
	return 0, false
}

// Transition is what happened to the user. Numbers are on disk.
type Transition uint8

const (
	TransitionEnter Transition = 1
	TransitionExit  Transition = 2
	TransitionValue Transition = 3
)

var transitionNames = [...]string{"", "enter", "exit", "value"}

// String returns the name in JSON and on the command line.
func (t Transition) String() string { return word(transitionNames[:], t) }

// Endpoint is a way to MoEngage with its own limits and its own order. Numbers are on disk.
type Endpoint uint8

const (
	EndpointTransition Endpoint = 1 // /v1/transition: attributes and events
	EndpointCohort     Endpoint = 2 // /v1/integrations/cohortsync
	EndpointDelete     Endpoint = 3 // /v1/customer/delete
)

// Endpoints is how many there are.
const Endpoints = 3

// Change is one thing that MoEngage should be told about one user. It is written once, when its
// cause is applied, and moves whole from the outbox to parked, held or history. It has one field for each part of its frame on
// disk.
type Change struct {
	ID   ID
	Kind Kind
	User string

	Computation string // key
	ComputedBy  string // computation id, as Segment gave it
	Column      string // of a SQL trait's row; "" otherwise
	Class       Class
	Transition  Transition

	Name  string          // attribute or event name in MoEngage
	Value json.RawMessage // attribute: the value, null to unset it; event: the membership or trait value, if it has one
	Props json.RawMessage // event as received: Segment's own properties; nil for a synthesised event

	EventTime time.Time // what the event is sent with: min(event time, receipt - 1 s)
	Received  time.Time
	MessageID string
	Trace     *Trace // of the event that caused it; nil: it named none, or an order did

	TimeSource TimeSource // of the event that caused it, where View.Change shows it and the event is still kept
	LeftOut    []string   // likewise: names of its values that can be neither kept nor sent
	OrderedBy  string     // the command that caused it instead of an event, likewise; "" when an event did

	Attempts    int
	Alone       int       // of these, the ones with no other user in the request
	NextAttempt time.Time // zero before a first attempt
	Reason      string    // code of the last failure, or why it is parked or held
	Sentence    string    // the same for people
	Answer      Answer    // MoEngage's last answer about it

	// Set when the change has left the outbox.
	State     State
	Closed    time.Time
	Successor ID // of a superseded change: what took its place
}

// Answer is what MoEngage said, as far as it is worth keeping.
type Answer struct {
	Status    int       `json:"status,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Body      string    `json:"body,omitempty"` // at most 2 KiB
	At        time.Time `json:"at,omitzero"`
}
