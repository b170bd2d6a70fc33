package store

import (
	"encoding/binary"
	"fmt"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
)

// computations fills the gaps in the numbers, because rows, changes and lanes speak of them by number.
func (r *rebuilder) computations() error {
	return r.db.Update(func(tx *bolt.Tx) error {
		known := make(map[uint32]*field)
		err := tx.Bucket(bucketFields).ForEach(func(k, frame []byte) error {
			f, err := decodeField(binary.BigEndian.Uint32(k), frame)
			known[binary.BigEndian.Uint32(k)] = f
			return err
		})
		if err != nil {
			return err
		}
		s := &referencedIDs{epoch: r.epoch, about: make(map[uint32]*stored)}
		s.read(tx)
		for number := range known {
			s.fields = max(s.fields, number+1)
		}
		for number := range s.fields {
			if known[number] != nil {
				continue
			}
			r.report.Lost.Computations++
			r.lost = true
			if err := tx.Bucket(bucketFields).Put(fieldKey(number), s.describe(number, known).encode(nil)); err != nil {
				return err
			}
		}
		for lane := uint32(1); lane < s.lanes; lane++ { // one whose name is lost waits for the default schedule
			if tx.Bucket(bucketJobs).Get(fieldKey(lane)) == nil {
				if err := tx.Bucket(bucketJobs).Put(fieldKey(lane), []byte{}); err != nil {
					return err
				}
			}
		}
		return boltfile.Seal(tx)
	})
}

// referencedIDs is which numbers of fields and lanes are in use.
type referencedIDs struct {
	epoch         uint32
	fields, lanes uint32             // one more than the highest
	about         map[uint32]*stored // a change about each field
}

func (s *referencedIDs) read(tx *bolt.Tx) {
	if k, _ := tx.Bucket(bucketJobs).Cursor().Last(); len(k) == 4 {
		s.lanes = binary.BigEndian.Uint32(k) + 1
	}
	change := func(_, frame []byte) error {
		ch, err := decodeChange(frame, epochs{{0, s.epoch}})
		if err != nil || ch.Kind == domain.KindReceived {
			return nil
		}
		s.fields, s.lanes = max(s.fields, ch.field+1), max(s.lanes, laneJob(ch.lane)+1)
		s.about[ch.field] = ch
		return nil
	}
	for _, name := range [][]byte{bucketHistory, bucketParked, bucketHeld} {
		_ = tx.Bucket(name).ForEach(change)
	}
	_ = tx.Bucket(bucketQueue).ForEach(func(k, v []byte) error {
		_, _, frame := parseQueueValue(v)
		return change(k, frame)
	})
	_ = tx.Bucket(bucketRows).ForEach(func(k, frame []byte) error {
		row, err := decodeBlock(k, frame, epochs{{0, s.epoch}})
		if err != nil {
			return nil
		}
		for _, e := range row.entries {
			s.fields = max(s.fields, row.field(e)+1)
			s.lanes = max(s.lanes, laneJob(e.waiting.lane)+1, laneJob(e.inFlight.lane)+1)
		}
		return nil
	})
}

// describe names a lost field after a change that speaks of it, if there is one. A computation known by
// its key alone takes the space and id of the next event about it.
func (s *referencedIDs) describe(number uint32, known map[uint32]*field) *field {
	f := &field{number: number, key: fmt.Sprintf("lost-%d", number), class: domain.ClassAudience}
	ch := s.about[number]
	if ch == nil {
		return f
	}
	f.key, f.column, f.class = ch.Computation, ch.Column, ch.Class
	switch ch.Kind {
	case domain.KindCohort:
		f.column = cohortColumn
	case domain.KindList:
		f.column = listColumn
	}
	for _, other := range known {
		if f.column != "" && other.column == "" && other.key == f.key && other.id == ch.ComputedBy {
			f.space, f.id = other.space, other.id
		}
	}
	return f
}
