package domain

import "bytes"

// Assertion is one statement about one user and one field: a membership, or the value of a trait. Value is raw JSON,
// true or false for a membership. The times are in nanoseconds since 1970.
type Assertion struct {
	Value   []byte
	Time    int64  // event time; an event older than this is stale
	Since   int64  // event time of the last change of Value
	Message string // of a value: message id, which decides between two values of one time; of a membership: ByOperator or ""
	Seq     uint64 // inbox record that last changed Value
}

// ByOperator marks a membership that an operator decided on by a close or a baseline. The guard holds none of its exits
// and a discard does not undo it. No event can bear the mark, because a membership does not keep its message id.
const ByOperator = "operator"

// IsIn reports whether s says that the user is a member. A nil assertion says nothing.
func (s *Assertion) IsIn() bool { return s != nil && bytes.Equal(s.Value, JSONTrue) }

// Before makes s older than a time. A stored time that no clock can have shown would make every event stale.
func (s *Assertion) Before(at int64) {
	s.Time = at - 1
	s.Since = min(s.Since, s.Time)
}

// Readmit turns an exit into a membership. It adds one nanosecond to the event time: at equal times an exit wins, and
// Segment may deliver the exit again. A newer event still decides.
func (s *Assertion) Readmit(seq uint64) {
	s.Value, s.Time, s.Seq = JSONTrue, s.Time+1, seq
	s.Since, s.Message = s.Time, ""
}

// Agree notes that another message said the same value at the same time. It reports whether that changes s. A different
// value of that time must beat the greatest message id of all that agree, or the order of arrival would matter.
func (s *Assertion) Agree(next Assertion) bool {
	if next.Message <= s.Message {
		return false
	}
	s.Message = next.Message
	return true
}

// Comparison is the result of [Compare].
type Comparison uint8

const (
	CompareChanged   Comparison = iota // the value is different
	CompareUnchanged                   // newer, with the same value: only the event time moves
	CompareDuplicate                   // same time and value
	CompareStale                       // older, or it loses at equal times
)

// Compare compares a new assertion with the previous one on the same field, which is nil if there is none. The newer
// event time wins. At equal times an exit wins over an enter, and between values the greater message id wins. So every
// order of arrival ends in the same state.
func Compare(previous *Assertion, next Assertion, membership bool) Comparison {
	switch {
	case previous == nil:
		return CompareChanged
	case next.Time < previous.Time:
		return CompareStale
	case SameValue(next.Value, previous.Value):
		if next.Time == previous.Time {
			return CompareDuplicate
		}
		return CompareUnchanged
	case next.Time > previous.Time:
		return CompareChanged
	case membership && !next.IsIn(), !membership && next.Message > previous.Message:
		return CompareChanged
	default:
		return CompareStale
	}
}
