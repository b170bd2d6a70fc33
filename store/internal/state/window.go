package state

import (
	"bytes"
	"time"

	"personasync/store/internal/wire"
)

// The guard. An audience edited, emptied or broken upstream sends thousands of exits at once, and each
// of them is a campaign stopped or started. So an audience is watched in windows, one after the other
// by receipt: when more of its members left in one than the rules allow, its exits are held, those
// that wait already included, until an operator releases or discards them. Enters go on, and cancel
// the held exit of the same user.
//
// Exits that waited when it tripped may be very many, so they are held some at a time, behind the
// batches, in the order of the locator (sweep). Until that is done, whoever is touched or taken is
// held first, so that when the sweep comes by makes no difference.

// ExitWindow is what the guard keeps of an audience.
type ExitWindow struct {
	Since   time.Time // when the window began, by receipt; zero before the first
	Seq     uint64    // number of the record that it began with
	Members uint64    // the most there were in it
	Left    uint64    // who left in it and has not come back
	Tripped time.Time // zero while exits go
	Until   uint64    // number of the record that tripped it
	Swept   []byte    // sweep: key of the locator where to go on; nil when none is under way
	Undone  RecordRange
}

// RecordRange is the records of a window that an operator discarded, while some who left in it are not
// readmitted yet: from up to before until. The zero value is no window.
type RecordRange struct{ From, Until uint64 }

func (r RecordRange) Has(seq uint64) bool { return seq >= r.From && seq < r.Until }

func (w *ExitWindow) encode(buf []byte) []byte {
	buf = wire.AppendUint(wire.AppendTime(buf, w.Since), w.Seq)
	buf = wire.AppendUint(wire.AppendUint(buf, w.Members), w.Left)
	buf = wire.AppendBytes(wire.AppendUint(wire.AppendTime(buf, w.Tripped), w.Until), w.Swept)
	return wire.AppendUint(wire.AppendUint(buf, w.Undone.From), w.Undone.Until)
}

func readWatch(r *wire.Reader) (w ExitWindow) {
	w.Since, w.Seq = r.Time(), r.Uint()
	w.Members, w.Left = r.Uint(), r.Uint()
	w.Tripped, w.Until = r.Time(), r.Uint()
	w.Swept = nilIfEmpty(bytes.Clone(r.Bytes()))
	return w
}
