package state

import (
	"encoding/binary"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// PutDeletes writes the counts.
func (tx *Tx) PutDeletes() {
	var v []byte
	for _, n := range tx.State.Deletes.terms() {
		v = binary.BigEndian.AppendUint64(v, *n)
	}
	tx.Put(tx.Bucket(BucketMeta), MetaDeletes, v)
}

// Receipt is the part of a delete that is kept forever. It has nothing of the user but a salted hash.
//
//	deletions: hash (16) | id (10) -> frame( asked, by, message id, state, reason, accepted, closed, status, request id )
type Receipt struct {
	Hash      []byte // Tombstone
	ID        domain.ID
	Asked     time.Time
	By        string // domain.BySegment, or an operator
	MessageID string
	State     domain.State // StatePending until it is closed: the change itself says more
	Reason    string
	Accepted  time.Time // by MoEngage; of one that is not delivered: when it may have been, for no answer came
	Closed    time.Time
	Status    int
	RequestID string
}

const receiptVersion byte = 1

// Key returns the key of the receipt.
func (r *Receipt) Key() []byte { return append(append([]byte(nil), r.Hash...), IDKey(r.ID)...) }

// encode returns the frame of the receipt.
func (r *Receipt) Encode() []byte {
	buf := wire.AppendTime([]byte{receiptVersion}, r.Asked)
	buf = wire.AppendString(wire.AppendString(buf, r.By), r.MessageID)
	buf = wire.AppendString(append(buf, byte(r.State)), r.Reason)
	buf = wire.AppendUint(wire.AppendTime(wire.AppendTime(buf, r.Accepted), r.Closed), uint64(r.Status))
	return wire.Seal(wire.AppendString(buf, r.RequestID), 0)
}

// DecodeReceipt reads a receipt.
func DecodeReceipt(key, frame []byte, epoch record.Epochs) (*Receipt, error) {
	if len(key) != ReceiptKey {
		return nil, wire.ErrDamaged
	}
	in, err := wire.Unseal(frame, receiptVersion)
	if err != nil {
		return nil, err
	}
	r := &Receipt{Hash: append([]byte(nil), key[:16]...), ID: IDFromKey(key[16:], epoch)}
	r.Asked, r.By, r.MessageID = in.Time(), in.Text(), in.Text()
	r.State, r.Reason = domain.State(in.Byte()), in.Text()
	r.Accepted, r.Closed, r.Status, r.RequestID = in.Time(), in.Time(), int(in.Uint()), in.Text()
	return r, in.Done()
}

// ReceiptKey is the length of a receipt's key.
const ReceiptKey = 16 + 10

// Receipts reads the receipts of the deletes of a user, the oldest first. A corrupt one is left out; a check finds it.
func Receipts(tx *Tx, user string) (list []*Receipt) {
	bucket, hash := tx.Bucket(BucketDeletions), Tombstone(tx.State.Salt, user)
	if bucket == nil {
		return nil // an older version wrote none
	}
	for _, k := range KeysWithPrefix(bucket, hash) {
		if r, err := DecodeReceipt(k, bucket.Get(k), tx.State.Epochs); err == nil {
			list = append(list, r)
		}
	}
	return list
}
