package domain

import (
	"bytes"
	"slices"
	"time"
)

// Call is what kind of message Segment sent. Numbers are on disk: never reuse one.
type Call uint8

const (
	CallUnknown  Call = 0
	CallIdentify Call = 1
	CallTrack    Call = 2
	CallGroup    Call = 3
	CallPage     Call = 4
	CallScreen   Call = 5
	CallAlias    Call = 6
	CallDelete   Call = 7
)

var CallNames = [...]string{"unknown", "identify", "track", "group", "page", "screen", "alias", "delete"}

// String returns Segment's name of the call.
func (c Call) String() string {
	if int(c) < len(CallNames) {
		return CallNames[c]
	}
	return CallNames[CallUnknown]
}

// Class is the sort of computation that an event is about. Numbers are on disk.
type Class uint8

const (
	ClassNone        Class = 0 // no computation: an ordinary event
	ClassAudience    Class = 1
	ClassTrait       Class = 2 // computed and SQL traits
	ClassJourneyStep Class = 3
)

var classNames = [...]string{"", "audience", "trait", "journey_step"}

// String returns Segment's name of the class.
func (c Class) String() string { return word(classNames[:], c) }

// Flag is the membership that an event states: it says so, it denies it, or it is silent.
// Silence is never an exit. Numbers are on disk.
type Flag uint8

const (
	FlagSilent Flag = 0
	FlagIn     Flag = 1
	FlagOut    Flag = 2
)

// Span is a piece of an event's raw bytes. Records keep the bytes once and point into them.
type Span struct{ Off, Len uint32 }

// Column is one named value inside an event: a computed trait, or one column of a SQL trait's row.
// Value spans the value's raw JSON, so that numbers keep their digits.
type Column struct {
	Name  string
	Value Span
}

// Identifier is one way an event names its user, with the verdict reached at the door.
// Fault is empty, or the reason code why MoEngage would not take this id (id_blocked, id_too_long, …).
type Identifier struct {
	ID    string
	Fault string
}

// MaxAhead is how far an event may be ahead of its receipt before it is not believed: an event of next
// year would otherwise beat every later one.
const MaxAhead = 5 * time.Minute

// TimeSource says what an event's time rests on. Numbers are on disk.
type TimeSource uint8

const (
	TimeOwn         TimeSource = 0 // on its originalTimestamp, or on its timestamp where it has no other
	TimeNone        TimeSource = 1 // on its receipt: it has no time
	TimeUnreadable  TimeSource = 2 // on its receipt: the time that it has cannot be read
	TimeSecond      TimeSource = 3 // on its timestamp: its originalTimestamp cannot be read
	TimeUncorrected TimeSource = 4 // on the client's clock: its sentAt cannot be read
	TimeAhead       TimeSource = 5 // on its receipt: its own time is more than MaxAhead ahead of that
)

var timeSourceNames = [...]string{"", "receipt", "unreadable", "timestamp", "uncorrected", "ahead"}

// String returns the source's code; it is "" for the event's own time.
func (s TimeSource) String() string { return word(timeSourceNames[:], s) }

var timeSourceSentences = [...]string{
	"", "the event has no time: this is its receipt", "the event's time cannot be read: this is its receipt",
	"its originalTimestamp cannot be read: this is its timestamp", "its sentAt cannot be read: the client's clock was believed",
	"the event's time is more than five minutes ahead of its receipt: this is the receipt",
}

// Sentence is the source for people; it is "" for the event's own time.
func (s TimeSource) Sentence() string { return word(timeSourceSentences[:], s) }

// Unread reports whether a time of the event could not be read.
func (s TimeSource) Unread() bool { return s >= TimeUnreadable && s <= TimeUncorrected }

// UnreadCode returns the code of a time that could not be read or was not believed, else "".
func (s TimeSource) UnreadCode() string {
	if s < TimeUnreadable {
		return ""
	}
	return s.String()
}

// UnknownClass is the reason code of an event whose class is missing or not known. One without a class is applied
// all the same where the only computation that it can be about is known.
const UnknownClass = "unknown_class"

// Event is one message of Segment as it was read at its arrival. Everything that needs a clock, a parser or a
// rule of MoEngage happened before the event became a record; applying it needs only this and the state.
// An Event is immutable once appended. It has one field for each part of its record.
type Event struct {
	Received time.Time // receipt: the only "now" that apply knows
	Time     time.Time // when it happened; more than MaxAhead ahead of Received only where the clock was set back

	TimeSource TimeSource
	ClockShift time.Duration // by sentAt, added to the client's time; a retry finds the same time with it
	ClockAhead time.Duration // how far ahead Received may be, where the clock had jumped a moment before
	Tracking   bool          // it came by a Tracking route
	Trace      *Trace        // of its delivery; nil: it named none

	Call      Call
	MessageID string // never empty: the door gives one to an event that has none
	Name      string // of a track call

	User      Identifier // userId
	Anonymous Identifier // anonymousId
	Email     Identifier // traits.email, or context.traits.email of a track call

	Class         Class
	Space         string // "" when the event has no context.personas
	Key           string // computation key, or audience_key/trait_key of an event without context.personas
	ComputationID string
	PassThrough   bool // may repeat on purpose: a journey step or an emitter's track call

	Flag    Flag     // audience and journey step: the membership stated
	Columns []Column // trait: the value, or every column of a SQL trait's row; Name equals Key for a plain computed trait
	Object  Span     // the traits or properties object whole; Len 0 when there is none
	LeftOut []Column // members of Object that can be neither kept nor sent: a number beyond a double, a name with half a character

	Consent *Preferences // what the event says of the user's consent; nil: nothing

	// Fault says why the event cannot be used, whatever the configuration says: it is parked as Fault
	// (a reason code such as "undetermined" or "unverified_delete") with Sentence for people. With UnknownClass,
	// Flag and Columns are what the event says if it is a membership, and if it is a trait.
	Fault    string
	Sentence string

	Raw []byte // the event's own JSON, never re-encoded
}

// Earliest returns the earliest time at which the event can have been received. A clock that jumped ahead must not make
// events look old.
func (e *Event) Earliest() time.Time { return e.Received.Add(-e.ClockAhead) }

// Age returns the least age of the event at its receipt.
func (e *Event) Age() time.Duration { return e.Earliest().Sub(e.Time) }

// Bytes returns the piece of the raw event that s spans. It shares memory with e.Raw.
func (e *Event) Bytes(s Span) []byte {
	if uint64(s.Off)+uint64(s.Len) > uint64(len(e.Raw)) {
		return nil
	}
	return e.Raw[s.Off : s.Off+s.Len : s.Off+s.Len]
}

// HasMembers reports whether users are members of computations of this class. Segment sends the steps of journeys under
// either class, so audiences and journey steps count as one.
func (c Class) HasMembers() bool { return c != ClassTrait }

// MaxUserID is the longest user id the store takes, in bytes; the door parks longer ones. bbolt would
// refuse keys above 32 KiB, and the whole batch with them.
const MaxUserID = 512

// Properties returns a copy of Object with null in the place of each value in LeftOut. The sender leaves nulls out.
func (e *Event) Properties() []byte {
	object := bytes.Clone(e.Bytes(e.Object))
	for i := len(e.LeftOut) - 1; i >= 0; i-- { // from the back, so that the offsets in front stay valid
		from := int64(e.LeftOut[i].Value.Off) - int64(e.Object.Off)
		if to := from + int64(e.LeftOut[i].Value.Len); from >= 0 && to <= int64(len(object)) {
			object = slices.Replace(object, int(from), int(to), JSONNull...)
		}
	}
	return object
}

// LeftOutNames returns the names in LeftOut.
func (e *Event) LeftOutNames() (names []string) {
	for _, c := range e.LeftOut {
		names = append(names, c.Name)
	}
	return names
}

// leavesOut reports whether LeftOut has the name.
func (e *Event) leavesOut(name string) bool {
	return slices.ContainsFunc(e.LeftOut, func(c Column) bool { return c.Name == name })
}
