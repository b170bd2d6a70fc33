package outbox

import (
	"encoding/json"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Notice is one announcement: of the changes received up to UpTo, At.
type Notice struct {
	At   time.Time `json:"said"`
	UpTo time.Time `json:"up_to"`
}

// Parked changes are for an operator to decide on, so they do not expire unannounced. Each is announced NoticeLead
// ahead, a day's changes at a time, and only an announced one expires. The announcements are on disk, so neither a
// restart nor a month without the agent shortens the lead. Nor does a clock that jumps ahead: its announcements are
// withdrawn once the clock is set back.
const (
	NoticeLead  = 7 * state.Day
	noticeShare = 7
)

// MetaNotices has the announcements, as JSON.
var MetaNotices = []byte("notices")

// PruneParked expires parked changes that nobody decided on, and announces the next ones. Expired changes are
// counted and logged. A corrupt entry stays, because its receipt is unknown, and does not stop those after it.
func PruneParked(tx *state.Tx, now time.Time, keep time.Duration) (more bool) {
	if keep <= 0 {
		return false
	}
	lead := min(NoticeLead, keep)
	upTo := announce(tx, now, keep, lead)
	var gone []*state.Stored
	c := tx.Parked.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		ch, err := state.DecodeChange(frame, tx.State.Epochs)
		if err != nil {
			continue
		}
		if now.Sub(ch.Received) < keep || ch.Received.After(upTo) {
			break
		}
		if ch.Kind == domain.KindDelete {
			continue // an obligation to erase does not lapse
		}
		if more = len(gone) == state.PruneSlice; more {
			break
		}
		gone = append(gone, ch)
	}
	tx.WantUsers(func(yield func(string) bool) {
		for _, ch := range gone {
			if ch.Kind != domain.KindReceived && !yield(ch.User) {
				return
			}
		}
	})
	for _, ch := range gone {
		expire(tx, ch, now)
	}
	if len(gone) > 0 {
		tx.Log.Warn("parked items expired", "count", len(gone))
	}
	return more
}

// announce adds an announcement, once a day, and returns the receipt up to which changes were announced long enough
// ago.
func announce(tx *state.Tx, now time.Time, keep, lead time.Duration) (upTo time.Time) {
	if k, _ := tx.Parked.Cursor().First(); k == nil {
		return upTo
	}
	var list []Notice
	meta := tx.Bucket(state.BucketMeta)
	if json.Unmarshal(meta.Get(MetaNotices), &list) != nil {
		list = nil // none yet
	}
	var kept []Notice
	for _, n := range list {
		switch {
		case n.At.After(now.Add(AheadOfClock)): // by a clock that was set back since
		case now.Sub(n.At) >= lead:
			upTo, kept = n.UpTo, []Notice{n}
		default:
			kept = append(kept, n)
		}
	}
	next := Notice{At: now.UTC().Round(0), UpTo: now.Add(lead - keep).UTC().Round(0)}
	var last time.Time
	if len(kept) > 0 {
		last = kept[len(kept)-1].UpTo
	}
	if !next.UpTo.After(last) {
		return upTo
	}
	next.UpTo = next.UpTo.Add(lead / noticeShare) // and those that reach that age within a day
	text, err := json.Marshal(append(kept, next))
	if err != nil {
		tx.Err = err
		return upTo
	}
	tx.Put(meta, MetaNotices, text)
	return upTo
}

func expire(tx *state.Tx, ch *state.Stored, now time.Time) {
	tx.Withdraw(ch)
	if ch.User != "" && len(ch.User) <= domain.MaxUserID {
		tx.Remove(tx.Queue, state.QueueKey(state.UserKey(ch.User), state.LaneParked, ch.ID))
	}
	if ch.Kind == domain.KindReceived {
		tx.State.Ledger.Events.Discarded++
		return
	}
	u := tx.User(ch.User)
	if e := tx.Entry(u, ch.Field); e.Waiting.ID == ch.ID {
		e.Waiting = state.Ticket{}
		tx.Write(u, ch.Field)
	}
	tx.Close(u, ch, domain.StateExpired, now)
}
