package domain

import "bytes"

// Assertion is what was last said about one user and one field: the membership, or the value, with
// the time that fences off older news. Value is raw JSON: true and false for a membership.
type Assertion struct {
	Value   []byte
	Time    int64  // event time of the newest word, ns
	Since   int64  // event time at which the value became what it is, ns
	Message string // of a value: decides between two words of one moment; of a membership: ByOperator or nothing
	Seq     uint64 // inbox record that last changed the value
}

// ByOperator marks a membership that an operator decided on by a close or a baseline. The guard holds none of its exits
// and a discard does not undo it. No event can bear the mark, because a membership does not keep its message id.
const ByOperator = "operator"

func (s *Assertion) IsIn() bool { return s != nil && bytes.Equal(s.Value, JsonTrue) }

// before takes from a word the time that it cannot be of: it is older than a moment.
func (s *Assertion) Before(at int64) {
	s.Time = at - 1
	s.Since = min(s.Since, s.Time)
}

// readmit makes an exit a membership again. Its time stays, so that a newer event decides, but for a
// nanosecond: at the same moment an exit beats an enter, and the exit may be delivered again.
func (s *Assertion) Readmit(seq uint64) {
	s.Value, s.Time, s.Seq = JsonTrue, s.Time+1, seq
	s.Since, s.Message = s.Time, ""
}

// Comparison is what a new word means beside what is known.
type Comparison uint8

const (
	CompareChanged   Comparison = iota // the value is another now
	CompareUnchanged                   // newer word, same value: only the fence moves
	CompareDuplicate                   // the same word again
	CompareStale                       // older than what is known, or the loser of one moment
)

// Compare compares a new word with the last one on the same field, nil when there is none. The newest
// word wins whatever order they arrive in; within one moment an exit beats an enter, and between
// values the greater message id wins, so that every order of arrival ends in the same state.
func Compare(known *Assertion, word Assertion, membership bool) Comparison {
	switch {
	case known == nil:
		return CompareChanged
	case word.Time < known.Time:
		return CompareStale
	case SameValue(word.Value, known.Value):
		if word.Time == known.Time {
			return CompareDuplicate
		}
		return CompareUnchanged
	case word.Time > known.Time:
		return CompareChanged
	case membership && !word.IsIn(), !membership && word.Message > known.Message:
		return CompareChanged
	default:
		return CompareStale
	}
}
