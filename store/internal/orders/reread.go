package orders

import (
	"bytes"
	"context"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

const (
	rereadBytes  = 1 << 20 // of the frames of one append
	rereadEvents = 64      // events that one read transaction copies
)

// ReadAgain is Store.ReadAgain.
func (rn *Runner) ReadAgain(ctx context.Context, now time.Time, ids []domain.ID, read func(*domain.Event) *domain.Event) (parked []domain.ID, err error) {
	var frames [][]byte
	size, onDisk := 0, orderAbsent
	flush := func() error {
		if len(frames) == 0 {
			return nil
		}
		if err := datadir.Translate(rn.Inbox.AppendOther(ctx, frames...)); err != nil {
			return rn.cutShort(onDisk, err)
		}
		frames, size, onDisk = nil, 0, orderInPart
		return nil
	}
	for some := range slices.Chunk(ids, rereadEvents) {
		events, err := rn.parkedEvents(some)
		if err != nil {
			return nil, err
		}
		for i, e := range events {
			if e == nil {
				continue
			}
			a := record.Reread{Received: now, ID: some[i], Event: read(e)}
			frames = append(frames, a.Encode(nil))
			if size += len(frames[len(frames)-1]); size < rereadBytes {
				continue
			}
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	if err := rn.carriedOut(ctx); err != nil {
		return nil, err
	}
	return rn.stillParked(ids)
}

// ForeseeAgain is Store.ForeseeAgain.
func (rn *Runner) ForeseeAgain(ids []domain.ID, read func(*domain.Event) *domain.Event) (parked []domain.ID, err error) {
	for some := range slices.Chunk(ids, rereadEvents) {
		events, err := rn.parkedEvents(some)
		if err != nil {
			return nil, err
		}
		for i, e := range events {
			if e != nil {
				events[i] = read(e)
			}
		}
		err = rn.Reader.Read(func(tx *state.Tx) error {
			for i, e := range events {
				if e == nil || apply.WouldPark(tx, e) {
					parked = append(parked, some[i])
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return parked, nil
}

// parkedEvents copies the events that are parked under ids, in their order; nil stands for an id of anything else,
// and for an event whose record is damaged.
func (rn *Runner) parkedEvents(ids []domain.ID) (events []*domain.Event, err error) {
	events = make([]*domain.Event, len(ids))
	err = rn.Reader.Read(func(tx *state.Tx) error {
		for i, id := range ids {
			ch := tx.Fetch(tx.Parked, state.IDKey(id))
			if ch == nil || ch.Kind != domain.KindReceived {
				continue
			}
			if rec, err := record.DecodeRecord(id.Seq, bytes.Clone(ch.Raw)); err == nil {
				events[i] = rec.Told()
			}
		}
		return nil
	})
	return events, err
}

// stillParked returns those of ids that are parked.
func (rn *Runner) stillParked(ids []domain.ID) (parked []domain.ID, err error) {
	err = rn.Reader.Read(func(tx *state.Tx) error {
		for _, id := range ids {
			if tx.Parked.Get(state.IDKey(id)) != nil {
				parked = append(parked, id)
			}
		}
		return nil
	})
	return parked, err
}
