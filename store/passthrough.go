package store

import (
	"crypto/sha256"
	"strings"
	"time"

	"personasync/store/domain"
)

// passThrough sends on a track event that may repeat on purpose: once for each message id. A flag in
// it sets the membership, but does not decide whether it is sent.
func (b *batch) passThrough(u *user, f *field, p *domain.Policy, c *cause) domain.Outcome {
	e := c.event
	if b.st.rules.MessageIDs > 0 && e.Age() > b.st.rules.MessageIDs {
		return domain.OutcomeStale // older than message ids are remembered: it cannot be told from a replay
	}
	if !b.firstSight(u, f, e) {
		return domain.OutcomeDuplicate
	}
	result, t, value := domain.OutcomeUnchanged, domain.Transition(0), []byte(nil)
	switch {
	case e.Class == domain.ClassTrait:
		result, t = max(result, b.values(u, f, p, c, false)), domain.TransitionValue
	case e.Flag == domain.FlagIn:
		result, t, value = b.member(u, f, p, c, sortOf(p, e), false), domain.TransitionEnter, domain.JSONTrue
	case e.Flag == domain.FlagOut:
		result, t, value = b.member(u, f, p, c, sortOf(p, e), false), domain.TransitionExit, domain.JSONFalse
	}
	if p.Send&(domain.SendAsReceived|domain.SendEvent) == 0 || p.IsTooOld(e) {
		return result
	}
	b.wantEvent(u, f, p, c, t, value, true)
	return domain.OutcomeTransition
}

const day = 24 * time.Hour

// dayKey names the bucket of the day that t is in.
func dayKey(t time.Time) []byte {
	return numberKey(uint64(max(t.Unix(), 0)) / uint64(day/time.Second))
}

// firstSight remembers an event by its message id, and reports whether it is new. A sender may give one message
// id to what it says of several users or computations, or of one by identify and track: they are several events.
//
// Older versions remembered the message id alone. What they remember is a repeat, whatever it is of.
func (b *batch) firstSight(u *user, f *field, e *domain.Event) bool {
	older := sha256.Sum256([]byte(e.MessageID))
	if b.remembered(e, older[:16]) {
		return false
	}
	what := strings.Join([]string{"seen", domain.CallNames[e.Call], f.key, u.id, e.MessageID}, "\x00")
	return b.remember(e, tombstone(b.st.salt, what))
}

// remembered looks a hash up. Hashes are kept in one bucket a day, so that forgetting them drops a bucket. Only
// the days that have a bucket are looked at: retention may be given in years.
func (b *batch) remembered(e *domain.Event, id []byte) bool {
	days := b.tx.Bucket(bucketMessages)
	c := days.Cursor()
	for k, _ := c.Seek(dayKey(e.Earliest().Add(-b.st.rules.MessageIDs))); k != nil; k, _ = c.Next() {
		if days.Bucket(k).Get(id) != nil {
			return true
		}
	}
	return false
}

// remember keeps a hash, and reports whether it is new.
func (b *batch) remember(e *domain.Event, id []byte) bool {
	if b.remembered(e, id) {
		return false
	}
	ids, err := b.tx.Bucket(bucketMessages).CreateBucketIfNotExists(dayKey(e.Received))
	if err != nil {
		b.err = err
		return true
	}
	b.put(ids, id, []byte{})
	return true
}
