package repair

import (
	"bytes"
	"errors"

	"personasync/store/engine/bolt"
)

// stateOutput is the new state.db that a scan writes. It commits many entries at once.
type stateOutput struct {
	db      *bolt.State
	tx      *bolt.Transaction
	written int
	err     error // of the first write that failed: entries are not lost because the disk is full
}

// salvageChunk is how many entries one transaction of the salvage writes.
const salvageChunk = 20000

// put writes an entry, and reports whether it could.
func (o *stateOutput) put(bucket, k, v []byte) bool {
	return o.begin() && o.tally(o.tx.Bucket(bucket).Put(bytes.Clone(k), bytes.Clone(v)))
}

// begin begins a transaction if none is open, and reports whether one is.
func (o *stateOutput) begin() bool {
	if o.tx == nil {
		tx, err := o.db.Begin()
		if err != nil {
			o.err = err
			return false
		}
		o.tx = tx
	}
	return true
}

// tally counts a write whose error is err. It commits after every salvageChunk writes, and reports whether err was nil.
func (o *stateOutput) tally(err error) bool {
	if o.written++; err == nil && o.written%salvageChunk == 0 {
		err = o.commit()
	}
	if o.err == nil {
		o.err = err
	}
	return err == nil
}

func (o *stateOutput) commit() error {
	if o.tx == nil {
		return nil
	}
	err := o.tx.Commit()
	o.tx = nil
	return err
}

// close commits the rest, and returns the first error of all writes.
func (o *stateOutput) close() error { return errors.Join(o.err, o.commit()) }
