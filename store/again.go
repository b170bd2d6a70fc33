package store

import (
	"bytes"
	"context"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// Reading a parked event again
//
// An event that could not be used is parked with its record. An operator who has removed the cause, by a change
// of the configuration or by a newer version, has its bytes read again. What is read now is appended as a record
// of its own, so that applying it needs neither the configuration nor the clock of that moment.

// reread is that record.
//
//	received, id of the parked event, frame of the event as it is read now
type reread struct {
	received time.Time // when the operator asked; the event keeps its own first receipt
	id       domain.ID
	event    *domain.Event
	frame    []byte
}

const (
	againBytes = 1 << 20 // of the frames of one append
	againRead  = 64      // events that one read transaction copies
)

// ReadAgain has parked events read again by read, which gets the event as it was read at its receipt and may be
// called from any goroutine of the caller. It returns once the results are applied: an event that can be used now
// has left the parked ones, and one that cannot stays there under its id: the ids of those are returned. Ids of
// anything else are passed over.
func (s *Store) ReadAgain(ctx context.Context, now time.Time, ids []domain.ID, read func(*domain.Event) *domain.Event) (parked []domain.ID, err error) {
	var frames [][]byte
	size, onDisk := 0, orderAbsent
	flush := func() error {
		if len(frames) == 0 {
			return nil
		}
		if err := translate(s.inbox.AppendOther(ctx, frames...)); err != nil {
			return s.cutShort(onDisk, err)
		}
		frames, size, onDisk = nil, 0, orderInPart
		return nil
	}
	for some := range slices.Chunk(ids, againRead) {
		events, err := s.parkedEvents(some)
		if err != nil {
			return nil, err
		}
		for i, e := range events {
			if e == nil {
				continue
			}
			a := reread{received: now, id: some[i], event: read(e)}
			frames = append(frames, a.encode(nil))
			if size += len(frames[len(frames)-1]); size < againBytes {
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
	if err := s.carriedOut(ctx); err != nil {
		return nil, err
	}
	return s.stillParked(ids)
}

// ForeseeAgain returns which of parked events ReadAgain would leave parked, and changes nothing.
func (s *Store) ForeseeAgain(ids []domain.ID, read func(*domain.Event) *domain.Event) (parked []domain.ID, err error) {
	for some := range slices.Chunk(ids, againRead) {
		events, err := s.parkedEvents(some)
		if err != nil {
			return nil, err
		}
		for i, e := range events {
			if e != nil {
				events[i] = read(e)
			}
		}
		err = s.read(func(b *batch) error {
			for i, e := range events {
				if e == nil || b.wouldPark(e) {
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

// wouldPark reports whether applyEvent would park an event, as the state is now.
func (b *batch) wouldPark(e *domain.Event) bool {
	if e.Fault != "" || e.Call == domain.CallDelete || e.Class == domain.ClassNone {
		return e.Fault != ""
	}
	f, ambiguous := b.st.registry.find(e)
	if ambiguous || b.st.registry.otherClass(f, e) != nil || b.overflows(f, e) {
		return true
	}
	key, id := e.Key, e.ComputationID
	if f != nil {
		key, id = f.key, f.id
	}
	p := b.st.rules.For(key, id)
	_, verdict := domain.IdentifyUser(e, &p)
	return verdict == domain.IdentityParked && (f == nil || !f.former())
}

// parkedEvents copies the events that are parked under ids, in their order; nil stands for an id of anything else,
// and for an event whose record is damaged.
func (s *Store) parkedEvents(ids []domain.ID) (events []*domain.Event, err error) {
	events = make([]*domain.Event, len(ids))
	err = s.read(func(b *batch) error {
		for i, id := range ids {
			ch := b.fetch(b.parked, idKey(id))
			if ch == nil || ch.Kind != domain.KindReceived {
				continue
			}
			if rec, err := decodeRecord(id.Seq, bytes.Clone(ch.raw)); err == nil {
				events[i] = rec.told()
			}
		}
		return nil
	})
	return events, err
}

func (s *Store) stillParked(ids []domain.ID) (parked []domain.ID, err error) {
	err = s.read(func(b *batch) error {
		for _, id := range ids {
			if b.parked.Get(idKey(id)) != nil {
				parked = append(parked, id)
			}
		}
		return nil
	})
	return parked, err
}

func (a *reread) encode(buf []byte) []byte {
	start := len(buf)
	buf = wire.AppendTime(append(buf, recordAgain), a.received)
	return wire.Seal(wire.AppendBytes(putID(buf, a.id), appendEvent(nil, a.event)), start)
}

func readAgain(r *wire.Reader, seq uint64) *reread {
	a := &reread{received: r.Time(), id: readID(r, nil), frame: r.Bytes()}
	rec, err := decodeRecord(seq, a.frame)
	if a.event = rec.event; err != nil || a.event == nil {
		r.Fail()
	}
	return a
}

// applyAgain has an event leave the parked ones and applies it in its new reading. It was accepted once, when it
// was received: the ledger moves it from one term to the other.
func (b *batch) applyAgain(seq uint64, a *reread) {
	b.now = a.received
	a.id.Epoch = b.st.epochs.of(a.id.Seq)
	ch := b.fetch(b.parked, idKey(a.id))
	if ch == nil || ch.Kind != domain.KindReceived {
		return
	}
	b.withdraw(ch)
	if ch.User != "" && len(ch.User) <= domain.MaxUserID {
		b.remove(b.queue, queueKey(userKey(ch.User), laneParked, ch.ID))
	}
	came := b.applyEvent(&cause{seq: seq, event: a.event, parked: a.id}, a.frame)
	b.st.ledger.events.Count(came)
}
