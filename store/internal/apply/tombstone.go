package apply

import (
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/internal/state"
)

// maxStone bounds the times of a tombstone.
const maxStone = 3

// setStone returns the value of a tombstone: at, and the first and the last of others that are later.
func setStone(at int64, others []int64) []byte {
	others = slices.DeleteFunc(others, func(t int64) bool { return t <= at })
	slices.Sort(others)
	if others = slices.Compact(others); len(others) >= maxStone {
		others = []int64{others[0], others[len(others)-1]}
	}
	stone := state.NumberKey(uint64(at))
	for _, t := range others {
		stone = binary.BigEndian.AppendUint64(stone, uint64(t))
	}
	return stone
}

// IsStone reports whether v can be a tombstone.
func IsStone(v []byte) bool { return len(v) > 0 && len(v)%8 == 0 && len(v) <= 8*maxStone }

// StoneTimes returns the times, in ns, up to which a tombstone ignores events.
func StoneTimes(v []byte) (times []int64) {
	for ; len(v) >= 8; v = v[8:] {
		times = append(times, int64(binary.BigEndian.Uint64(v)))
	}
	return times
}

// forgotten reports whether an event is from before its user was erased. A time beyond believable was written while
// the clock was ahead, and ignores nothing.
func forgotten(tx *state.Tx, id string, at time.Time, believable int64) bool {
	return tx.State.Ledger.Tombstones > 0 && BuriedBy(tx.Bucket(state.BucketTombstones).Get(state.Tombstone(tx.State.Salt, id)), at.UnixNano(), believable)
}

// BuriedBy reports whether a tombstone ignores an event of a time, in ns.
func BuriedBy(stone []byte, at, believable int64) bool {
	return slices.ContainsFunc(StoneTimes(stone), func(t int64) bool { return t <= believable && at <= t })
}
