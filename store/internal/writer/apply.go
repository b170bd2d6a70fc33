package writer

import (
	"errors"
	"fmt"
	"time"

	"personasync/store/internal/apply"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// applier is how far the writer is with the inbox.
type applier struct {
	pacing     pacing
	unreadable bool      // the last batch could not be read
	reached    time.Time // receipt of the newest record applied by this process
}

// applyNext applies the next records of the inbox, if there are any. An inbox that cannot be read for a reason other than
// damage is no error: outcomes and leases must not wait for it.
func (w *Writer) applyNext(tx *state.Tx) error {
	end := w.inbox.Next()
	records, err := w.inbox.Read(tx.State.Applied+1, w.apply.pacing.portion())
	if w.apply.unreadable = err != nil; w.apply.unreadable && !errors.Is(err, wire.ErrDamaged) {
		w.log.Error("the inbox could not be read; trying again", "err", err)
		return nil
	}
	if err == nil && len(records) == 0 {
		err = w.passHole(tx, end)
	}
	if err != nil {
		return err
	}
	apply.Want(tx, func(yield func(*record.Record) bool) {
		for _, r := range records {
			if rec, err := record.DecodeRecord(r.Seq, r.Frame); err == nil && !yield(&rec) {
				return
			}
		}
	})
	_, received := w.refused.List()
	defer func() { w.refused.NoteReceived(received) }()
	var d record.Decoder
	for i, r := range records {
		state.Yield(i)
		if r.Seq != tx.State.Applied+1 {
			if i > 0 { // the next batch begins with the hole
				break
			}
			if err := w.passHole(tx, r.Seq); err != nil {
				return err
			}
		}
		rec, err := d.Decode(r.Seq, r.Frame)
		if err != nil {
			apply.Damaged(tx, r.Seq, r.Frame, err)
			continue
		}
		apply.Record(tx, rec, r.Frame)
		if rec.Event != nil {
			received.Note(rec.Event)
		}
		w.apply.reached = tx.Now
		if rec.IsOther() {
			tx.Others++
		}
	}
	return tx.Err
}

// passHole counts the records up to the one before to as lost, where a check of the files would not find them: whole files
// were removed, a restore moved the numbers on, or this start has checked and salvaged. Any other hole is damage: the tree
// of a file no longer leads to records that it has, and the next start can save them.
func (w *Writer) passHole(tx *state.Tx, to uint64) error {
	next := tx.State.Applied + 1
	inFile := to == w.inbox.Next() || w.inbox.Spans(next) && to-next < record.RestoreJump
	if to < next || inFile && next > w.checked {
		return fmt.Errorf("%w: received records cannot be found in the inbox: number %d is looked for, the next found is %d", wire.ErrDamaged, next, to)
	}
	apply.Missing(tx, to-next)
	tx.State.Applied = to - 1
	return nil
}
