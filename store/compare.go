package store

import "bytes"

// statement is what was last said about one user and one field: the membership, or the value, with
// the time that fences off older news. Value is raw JSON: true and false for a membership.
type statement struct {
	value   []byte
	time    int64  // event time of the newest word, ns
	since   int64  // event time at which the value became what it is, ns
	message string // of a value: decides between two words of one moment; of a membership: byOperator or nothing
	seq     uint64 // inbox record that last changed the value
}

// byOperator marks a membership that an operator decided on by a close or a baseline. The guard holds none of its exits
// and a discard does not undo it. No event can bear the mark, because a membership does not keep its message id.
const byOperator = "operator"

func (s *statement) in() bool { return s != nil && bytes.Equal(s.value, jsonTrue) }

// before takes from a word the time that it cannot be of: it is older than a moment.
func (s *statement) before(at int64) {
	s.time = at - 1
	s.since = min(s.since, s.time)
}

// readmit makes an exit a membership again. Its time stays, so that a newer event decides, but for a
// nanosecond: at the same moment an exit beats an enter, and the exit may be delivered again.
func (s *statement) readmit(seq uint64) {
	s.value, s.time, s.seq = jsonTrue, s.time+1, seq
	s.since, s.message = s.time, ""
}

// ruling is what a new word means beside what is known.
type ruling uint8

const (
	rulingMoved     ruling = iota // the value is another now
	rulingUnchanged               // newer word, same value: only the fence moves
	rulingDuplicate               // the same word again
	rulingStale                   // older than what is known, or the loser of one moment
)

// judge compares a new word with the last one on the same field, nil when there is none. The newest
// word wins whatever order they arrive in; within one moment an exit beats an enter, and between
// values the greater message id wins, so that every order of arrival ends in the same state.
func judge(known *statement, word statement, membership bool) ruling {
	switch {
	case known == nil:
		return rulingMoved
	case word.time < known.time:
		return rulingStale
	case SameValue(word.value, known.value):
		if word.time == known.time {
			return rulingDuplicate
		}
		return rulingUnchanged
	case word.time > known.time:
		return rulingMoved
	case membership && !word.in(), !membership && word.message > known.message:
		return rulingMoved
	default:
		return rulingStale
	}
}
