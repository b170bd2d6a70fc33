package repair

import (
	"encoding/binary"
	"fmt"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// addLostFields makes a computation for every missing number, because rows, changes and lanes name them by number. It
// returns how many it made.
func addLostFields(db *bolt.State, epoch uint32) (made uint64, err error) {
	err = db.Update(func(tx engine.Tx) error {
		known := make(map[uint32]*state.Field)
		err := tx.Bucket(state.BucketFields).ForEach(func(k, frame []byte) error {
			f, err := state.DecodeField(binary.BigEndian.Uint32(k), frame)
			known[binary.BigEndian.Uint32(k)] = f
			return err
		})
		if err != nil {
			return err
		}
		s := &referencedIDs{epoch: epoch, about: make(map[uint32]*state.Stored)}
		s.read(tx)
		for number := range known {
			s.fields = max(s.fields, number+1)
		}
		for number := range s.fields {
			if known[number] != nil {
				continue
			}
			made++
			if err := tx.Bucket(state.BucketFields).Put(state.FieldKey(number), s.describe(number, known).Encode(nil)); err != nil {
				return err
			}
		}
		for lane := uint32(1); lane < s.lanes; lane++ { // a lane without a name has the default schedule
			if tx.Bucket(state.BucketJobs).Get(state.FieldKey(lane)) == nil {
				if err := tx.Bucket(state.BucketJobs).Put(state.FieldKey(lane), []byte{}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return made, err
}

// referencedIDs are the numbers of fields and lanes in use.
type referencedIDs struct {
	epoch         uint32
	fields, lanes uint32                   // one more than the highest
	about         map[uint32]*state.Stored // a change about each field
}

func (s *referencedIDs) read(tx engine.Tx) {
	if k, _ := tx.Bucket(state.BucketJobs).Cursor().Last(); len(k) == 4 {
		s.lanes = binary.BigEndian.Uint32(k) + 1
	}
	change := func(_, frame []byte) error {
		ch, err := state.DecodeChange(frame, record.Epochs{{First: 0, Epoch: s.epoch}})
		if err != nil || ch.Kind == domain.KindReceived {
			return nil
		}
		s.fields, s.lanes = max(s.fields, ch.Field+1), max(s.lanes, state.LaneJob(ch.Lane)+1)
		s.about[ch.Field] = ch
		return nil
	}
	for _, name := range [][]byte{state.BucketHistory, state.BucketParked, state.BucketHeld} {
		_ = tx.Bucket(name).ForEach(change)
	}
	_ = tx.Bucket(state.BucketQueue).ForEach(func(k, v []byte) error {
		_, _, frame := state.ParseQueueValue(v)
		return change(k, frame)
	})
	_ = tx.Bucket(state.BucketJournal).ForEach(func(k, frame []byte) error {
		entries, _ := state.JournalChunk(k, frame)
		for i := range entries {
			s.fields = max(s.fields, entries[i].Field+1)
		}
		return nil
	})
	_ = tx.Bucket(state.BucketRows).ForEach(func(k, frame []byte) error {
		row, err := state.DecodeBlock(k, frame, record.Epochs{{First: 0, Epoch: s.epoch}})
		if err != nil {
			return nil
		}
		for _, e := range row.Entries {
			s.fields = max(s.fields, row.Field(e)+1)
			s.lanes = max(s.lanes, state.LaneJob(e.Waiting.Lane)+1, state.LaneJob(e.InFlight.Lane)+1)
		}
		return nil
	})
}

// describe names a lost field after a change about it, if there is one. A computation known by its key alone takes the
// space and id of the next event about it.
func (s *referencedIDs) describe(number uint32, known map[uint32]*state.Field) *state.Field {
	f := &state.Field{Number: number, Key: fmt.Sprintf("lost-%d", number), Class: domain.ClassAudience}
	ch := s.about[number]
	if ch == nil {
		return f
	}
	f.Key, f.Column, f.Class = ch.Computation, ch.Column, ch.Class
	switch ch.Kind {
	case domain.KindCohort:
		f.Column = state.CohortColumn
	case domain.KindList:
		f.Column = state.ListColumn
	}
	for _, other := range known {
		if f.Column != "" && other.Column == "" && other.Key == f.Key && other.ID == ch.ComputedBy {
			f.Space, f.ID = other.Space, other.ID
		}
	}
	return f
}
