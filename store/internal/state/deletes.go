package state

import (
	"encoding/binary"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// MetaDeletes has Deletes. An older program ignores it.
var MetaDeletes = []byte("deletes")

// Deletes counts the changes that delete users at MoEngage.
//
//	meta: day, asked, pending, held, parked, accepted (8 bytes each)
type Deletes struct {
	Day      uint64 // days since 1970, UTC: of the newest that was asked for
	Asked    uint64 // on that day
	Pending  uint64
	Held     uint64
	Parked   uint64
	Accepted uint64 // unix second in which MoEngage accepted the newest, or may have
}

func (d *Deletes) terms() [6]*uint64 {
	return [6]*uint64{&d.Day, &d.Asked, &d.Pending, &d.Held, &d.Parked, &d.Accepted}
}

func readDeletes(v []byte) (d Deletes) {
	for _, n := range d.terms() {
		if len(v) >= 8 {
			*n, v = binary.BigEndian.Uint64(v), v[8:]
		}
	}
	return d
}

// Count adds n to the deletes in a state.
func (d *Deletes) Count(s domain.State, n int) {
	switch s {
	case domain.StatePending:
		d.Pending = uint64(max(int(d.Pending)+n, 0))
	case domain.StateHeld:
		d.Held = uint64(max(int(d.Held)+n, 0))
	case domain.StateParked:
		d.Parked = uint64(max(int(d.Parked)+n, 0))
	}
}

// PutDeletes writes the counts.
func (tx *Tx) PutDeletes() {
	var v []byte
	for _, n := range tx.State.Deletes.terms() {
		v = binary.BigEndian.AppendUint64(v, *n)
	}
	tx.Put(tx.Bucket(BucketMeta), MetaDeletes, v)
}

// Receipt is the part of a delete that is kept for ever. It has nothing of the user but a salted hash.
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

// Encode returns the frame of the receipt.
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

// barredUntil returns the unix second until which nothing of the user leaves but a delete: NotYet while one is pending,
// 0 for nearly every user.
func (h *PendingIndex) barredUntil() uint32 {
	if len(h.Endpoint(domain.EndpointDelete).Lanes) > 0 {
		return NotYet
	}
	return h.Deleted
}

// barredPlaces appends the places in the due index of a user whom MoEngage is to delete, or may delete still. The delete
// has a place of its own; everything else waits for its end.
func (h *PendingIndex) barredPlaces(list []DuePlace, until uint32) []DuePlace {
	for _, endpoint := range [...]domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		if len(h.Endpoint(endpoint).Lanes) > 0 {
			list = append(list, DuePlace{endpoint, LaneBarred, until})
		}
	}
	rh := h.Endpoint(domain.EndpointDelete)
	switch {
	case len(rh.Lanes) > 0 && rh.Retry != 0:
		list = append(list, DuePlace{domain.EndpointDelete, LaneRetry, rh.Retry})
	case len(rh.Lanes) > 0:
		list = append(list, DuePlace{domain.EndpointDelete, rh.Lanes[0].Number, rh.Lanes[0].Due})
	}
	return list
}
