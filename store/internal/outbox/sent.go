package outbox

import (
	"bytes"
	"encoding/binary"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// countSent adds a lease to the second it is counted in, or takes back one that was not sent. It deletes seconds
// that are two minutes away: behind, or ahead by a clock that was set back.
func countSent(tx *state.Tx, second uint64, more domain.SentSecond) {
	sent := tx.Bucket(state.BucketSent)
	key := state.NumberKey(second)
	total := SentIn(sent.Get(key))
	var v []byte
	for _, n := range [...]int{total.Users + more.Users, total.Events + more.Events, total.Cohorts + more.Cohorts, total.Deletes + more.Deletes} {
		v = binary.BigEndian.AppendUint32(v, uint32(max(n, 0)))
	}
	tx.Put(sent, key, v)
	c := sent.Cursor()
	var old [][]byte
	for k, _ := c.First(); k != nil && state.Number(k)+120 < second; k, _ = c.Next() {
		old = append(old, bytes.Clone(k))
	}
	for k, _ := c.Last(); k != nil && state.Number(k) > second+120; k, _ = c.Prev() {
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		tx.Remove(sent, k)
	}
}

// SentIn reads the counts of a second. Older versions counted no cohort requests, or no deletes.
func SentIn(v []byte) (s domain.SentSecond) {
	if len(v) >= 8 {
		s.Users, s.Events = int(binary.BigEndian.Uint32(v)), int(binary.BigEndian.Uint32(v[4:]))
	}
	if len(v) >= 12 {
		s.Cohorts = int(binary.BigEndian.Uint32(v[8:]))
	}
	if len(v) >= 16 {
		s.Deletes = int(binary.BigEndian.Uint32(v[12:]))
	}
	return s
}
