package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"
)

// An exit is remembered: it fences off older news, and a reconcile tells it again. Where it need not be
// remembered for ever (retention.ex_members), it goes once it is old and MoEngage knows it, or never
// needed to.
//
// No index leads to the exits that are due: it would be as large as the memberships, and dirty a page of
// its own for each. So the rows are walked, once a day, some of them every minute. A walk that begins
// anywhere serves all of them, however often the agent is started again.
type exitWalk struct {
	mu   sync.Mutex
	last time.Time // when the minute under way began
	left uint64    // slices to walk in it
	from []byte    // row to go on with
	met  uint64    // exits forgotten since the walk passed its end
}

const minutesADay = 24 * 60

// forgetExits walks a slice of the rows, if it is time; more says that this minute's share is not done.
func (s *Store) forgetExits(ctx context.Context, now time.Time, keep time.Duration) (more bool, err error) {
	w := &s.exits
	w.mu.Lock()
	defer w.mu.Unlock()
	if keep <= 0 || w.left == 0 && now.Sub(w.last).Abs() < time.Minute {
		return false, nil
	}
	if w.left == 0 {
		if err := s.beginMinute(now); err != nil {
			return false, err
		}
	}
	w.left--
	before := now.Add(-keep).UnixNano()
	users, next, err := s.r.exMembers(w.from, before)
	if err == nil && len(users) > 0 {
		err = s.run(ctx, func(b *batch) error {
			for _, id := range users {
				w.met += b.forgetExitsOf(b.user(id), before)
			}
			return nil
		}, nil)
	}
	if err != nil {
		return false, err
	}
	if w.from = next; next == nil && w.met > 0 {
		s.log.Info("exits past their retention were forgotten", "exits", w.met)
		w.met = 0
	}
	return w.left > 0, nil
}

// beginMinute works out how much of a day's walk a minute takes.
func (s *Store) beginMinute(now time.Time) error {
	w := &s.exits
	if w.last.IsZero() {
		w.from = []byte{byte(rand.IntN(Partitions))}
	}
	return s.look(func(tx *bolt.Tx) error {
		l, err := decodeLedger(tx.Bucket(bucketMeta).Get(metaLedger))
		if err == nil {
			w.last, w.left = now, 1+l.users/(pageScan*minutesADay)
		}
		return err
	})
}

// exMembers reads a page of rows and returns the users with an exit to forget, and where to go on: nil at
// the end.
func (v *reader) exMembers(from []byte, before int64) (users []string, next []byte, err error) {
	err = v.read(func(b *batch) error {
		c := b.rows.Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil; k, frame = c.Next() {
			if n++; n > pageScan {
				next = bytes.Clone(k)
				return nil
			}
			id, rest, ok := userOf(k)
			if !ok || len(rest) != 2 || binary.BigEndian.Uint16(rest) == blockHead || len(users) > 0 && users[len(users)-1] == id {
				continue
			}
			row, err := decodeBlock(k, frame, b.st.epochs)
			if err != nil {
				continue // set aside when next written; doctor counts it
			}
			for _, e := range row.entries {
				if f := b.fieldOf(row.field(e)); f != nil && f.audience() && e.over(before) {
					users = append(users, id)
					break
				}
			}
		}
		return nil
	})
	return users, next, err
}

// audience reports whether f is a computation that has members.
func (f *field) audience() bool {
	return f.column == "" && !f.forwarded() && f.class != domain.ClassTrait && !f.former()
}

// over reports whether all that is known of a membership is that it ended before a time, and nothing is
// to be said about it any more.
func (e *entry) over(before int64) bool {
	for _, s := range e.kept {
		if s != nil && (s.IsIn() || s.Time >= before) {
			return false
		}
	}
	return e.newest() != nil && e.settledOut()
}

// settledOut reports whether MoEngage knows of no membership by this field, and nothing waits.
func (e *entry) settledOut() bool {
	return !e.moving() && (e.lastSent.kind == neverSent || e.lastSent.is(domain.JSONFalse))
}

// forgetExitsOf forgets the exits of a user from before a time, on every channel, and counts them. What is
// decided about an audience that has something held, and about a window of the guard, needs to know who left.
func (b *batch) forgetExitsOf(u *user, before int64) (n uint64) {
	for _, number := range b.blockNumbers(u) {
		row := b.block(u, number)
		for _, e := range slices.Clone(row.entries) { // a channel's may be added on the way
			f := b.fieldOf(row.field(e))
			if f == nil || !f.audience() || !e.over(before) || f.watch.mayUndo(e.left, before) || b.heldOf(f) > 0 || !b.targetsOut(u, f) {
				continue
			}
			for _, x := range b.st.registry.targetFields(f) {
				*b.entry(u, x.number) = entry{column: uint8(x.number % blockSize)}
				b.write(u, x.number)
			}
			n++
		}
	}
	return n
}

// targetsOut reports whether MoEngage knows of no membership of f by any channel.
func (b *batch) targetsOut(u *user, f *field) bool {
	for _, x := range b.st.registry.targetFields(f)[1:] {
		if !b.entry(u, x.number).settledOut() {
			return false
		}
	}
	return true
}
