package writer

import (
	"time"

	"personasync/store/internal/apply"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// applier is how far the writer is with the inbox.
type applier struct {
	pacing     pacing
	unreadable bool      // the last batch found none of the records it looked for
	reached    time.Time // receipt of the newest record applied by this process
}

// applyNext applies the next records of the inbox, if there are any. An inbox that cannot be read is no error:
// outcomes and leases must not wait for it.
func (w *Writer) applyNext(tx *state.Tx) error {
	records, err := w.inbox.Read(tx.State.Applied+1, w.apply.pacing.portion())
	if err != nil {
		w.log.Error("the inbox could not be read; trying again", "err", err)
		w.apply.unreadable = true
		return nil
	}
	if w.apply.unreadable = len(records) == 0; w.apply.unreadable {
		w.log.Error("records that were received are not in the inbox", "from", tx.State.Applied+1)
	}
	_, heard := w.refused.List()
	defer func() { w.refused.Hear(heard) }()
	for i, r := range records {
		state.Yield(i)
		if missing := r.Seq - 1 - tx.State.Applied; missing > 0 {
			apply.Missing(tx, missing)
		}
		rec, err := record.DecodeRecord(r.Seq, r.Frame)
		if err != nil {
			apply.Damaged(tx, r.Seq, r.Frame, err)
			continue
		}
		apply.Record(tx, rec, r.Frame)
		if rec.Event != nil {
			heard.Note(rec.Event)
		}
		w.apply.reached = tx.Now
		if rec.Outsider() {
			tx.Outsiders++
		}
	}
	return tx.Err
}
