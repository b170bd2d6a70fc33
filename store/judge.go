package store

import "bytes"

// statement is what was last said about one user and one field: the membership, or the value, with
// the time that fences off older news. Value is raw JSON: true and false for a membership.
type statement struct {
	value   []byte
	time    int64  // event time of the newest word, ns
	since   int64  // event time at which the value became what it is, ns
	message string // values only: decides between two words of one moment
	seq     uint64 // inbox record that last changed the value
}

func (s *statement) in() bool { return s != nil && bytes.Equal(s.value, jsonTrue) }

// believable is the latest time that a word kept of a user can be of, as far as a record may know. What is
// kept beyond it was written under a clock that was ahead, and is no fence: else a moment of a wrong clock
// would make everything stale until the clock is there. A record whose own time lies ahead of its receipt came
// in under a clock that was set back, and vouches for the times before it.
func (b *batch) believable(c *cause) int64 {
	at := b.now
	if c.event.Time.After(at) {
		at = c.event.Time
	}
	return at.Add(MaxAhead).UnixNano()
}

// before takes from a word the time that it cannot be of: it is older than a moment.
func (s *statement) before(at int64) {
	s.time = at - 1
	s.since = min(s.since, s.time)
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
