package store

import (
	"crypto/sha256"
	"time"
)

// passThrough sends on a track event that may repeat on purpose: once for each message id. A flag in
// it sets the membership, but does not decide whether it is sent.
func (b *batch) passThrough(u *user, f *field, p *Policy, c *cause) fate {
	e := c.event
	if b.st.rules.MessageIDs > 0 && e.Received.Sub(e.Time) > b.st.rules.MessageIDs {
		return fateStale // older than message ids are remembered: it cannot be told from a replay
	}
	if !b.firstSight(e) {
		return fateDuplicate
	}
	result, t, value := fateUnchanged, Transition(0), []byte(nil)
	switch {
	case e.Class == ClassTrait:
		result, t = max(result, b.values(u, f, p, c, false)), TransitionValue
	case e.Flag == FlagIn:
		result, t, value = b.member(u, f, p, c, sortOf(p, e), false), TransitionEnter, jsonTrue
	case e.Flag == FlagOut:
		result, t, value = b.member(u, f, p, c, sortOf(p, e), false), TransitionExit, jsonFalse
	}
	if p.Send&(SendAsReceived|SendEvent) == 0 || p.tooOld(e) {
		return result
	}
	b.wantEvent(u, f, p, c, t, value, true)
	return fateTransition
}

const day = 24 * time.Hour

// dayKey names the bucket of the day that t is in.
func dayKey(t time.Time) []byte {
	return numberKey(uint64(max(t.Unix(), 0)) / uint64(day/time.Second))
}

// firstSight remembers the message id of an event, and reports whether it is new.
func (b *batch) firstSight(e *Event) bool {
	sum := sha256.Sum256([]byte(e.MessageID))
	return b.remember(e.Received, sum[:16])
}

// remember keeps a hash, and reports whether it is new. Hashes are kept in one bucket a day, so that
// forgetting them drops a bucket. Only the days that have a bucket are looked at: retention may be given
// in years.
func (b *batch) remember(received time.Time, id []byte) bool {
	days := b.tx.Bucket(bucketMessages)
	c := days.Cursor()
	for k, _ := c.Seek(dayKey(received.Add(-b.st.rules.MessageIDs))); k != nil; k, _ = c.Next() {
		if days.Bucket(k).Get(id) != nil {
			return false
		}
	}
	ids, err := days.CreateBucketIfNotExists(dayKey(received))
	if err != nil {
		b.err = err
		return true
	}
	b.put(ids, id, []byte{})
	return true
}
