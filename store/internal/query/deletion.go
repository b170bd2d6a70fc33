package query

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Deletions returns the receipts of deletes at MoEngage, the newest first: those of one user, or all.
func (v *Reader) Deletions(user string) (list []domain.Deletion, err error) {
	if user != "" {
		return list, v.Read(func(tx *state.Tx) error { list = deletionsOf(tx, user); return nil })
	}
	for from, more := []byte(nil), true; more && err == nil; {
		err = v.Read(func(tx *state.Tx) error { list, from, more = readDeletions(tx, list, from); return nil })
	}
	slices.SortFunc(list, newestDeletion)
	return list, err
}

// readDeletions appends the receipts from a key on, as many as one transaction may look at. Damaged ones are left out; a
// check finds them.
func readDeletions(tx *state.Tx, list []domain.Deletion, from []byte) (_ []domain.Deletion, next []byte, more bool) {
	bucket := tx.Bucket(state.BucketDeletions)
	if bucket == nil {
		return list, nil, false // an older version wrote none
	}
	c := bucket.Cursor()
	k, frame := c.Seek(from)
	for n := 0; k != nil && n < state.PageScan; k, frame = c.Next() {
		n++
		if r, err := state.DecodeReceipt(k, frame, tx.State.Epochs); err == nil {
			list = append(list, deletionOf(tx, r))
		}
	}
	return list, bytes.Clone(k), k != nil
}

// deletionsOf returns the receipts of one user, the newest first.
func deletionsOf(tx *state.Tx, user string) (list []domain.Deletion) {
	for _, r := range state.Receipts(tx, user) {
		list = append(list, deletionOf(tx, r))
	}
	slices.SortFunc(list, newestDeletion)
	return list
}

func newestDeletion(x, y domain.Deletion) int {
	return cmp.Or(strings.Compare(y.Asked, x.Asked), strings.Compare(y.ID, x.ID))
}

// deletionOf describes a deletion by its receipt, and by its change while that exists. The change of an open receipt may
// have been lost to damage.
func deletionOf(tx *state.Tx, r *state.Receipt) domain.Deletion {
	d := domain.Deletion{
		ID: r.ID.String(), State: r.State.String(), Hash: hex.EncodeToString(r.Hash), Asked: domain.Timestamp(r.Asked), By: r.By, MessageID: r.MessageID,
		Reason: r.Reason, Closed: domain.Timestamp(r.Closed), Status: r.Status, RequestID: r.RequestID,
	}
	switch r.State {
	case domain.StateDelivered:
		d.Final = domain.Timestamp(r.Accepted.Add(domain.DeletionBuffer))
	case domain.StatePending:
		ch := state.Find(tx, r.ID)
		if ch == nil || ch.Kind != domain.KindDelete {
			d.State, d.Sentence = "lost", "the change was lost to damage; order it again with `personasync user forget ID --moengage`"
			return d
		}
		d.State, d.User, d.Reason, d.Sentence, d.Attempts = ch.State.String(), ch.User, ch.Reason, ch.Sentence, ch.Attempts
	}
	return d
}

// deletionCounts returns the counts, and the receipt of the oldest pending deletion.
func deletionCounts(tx *state.Tx) domain.DeletionCounts {
	d := &tx.State.Deletes
	c := domain.DeletionCounts{Pending: d.Pending, Held: d.Held, Parked: d.Parked, Today: d.Asked}
	for lane, l := range state.Lanes(tx, domain.EndpointDelete) {
		first := l.First
		if state.IsRetry(lane) {
			first = state.NotYet
			for h := range state.Indexes(tx, domain.EndpointDelete, lane, retryScan) {
				first = min(first, h.Endpoint(domain.EndpointDelete).Lanes[0].Due)
			}
		}
		if first != state.NotYet {
			c.Oldest = domain.Sooner(c.Oldest, time.Unix(int64(first), 0).UTC())
		}
	}
	return c
}
