package query

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// watermarkScan bounds how many users are looked at for the watermarks, about. Every scrape does it.
const watermarkScan = 2000

// watermarks says for each computation from which second of receipt on something about it may be pending. Where more
// is pending than is looked at, it says an earlier second than is true, and never a later one.
type watermarks struct {
	own   map[uint32]uint32 // by the number of the computation
	floor uint32            // for all: everything that is not looked at, and all that belongs to no single computation

	applied time.Time // up to this receipt every event is applied
}

// newWatermarks reads the lanes of both endpoints. Up to applied, every event is applied.
func newWatermarks(tx *state.Tx, applied time.Time) *watermarks {
	w := &watermarks{own: make(map[uint32]uint32), floor: state.NotYet, applied: applied}
	for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		lanes := state.Lanes(tx, endpoint)
		for lane := range lanes {
			w.look(tx, endpoint, lane, watermarkScan/len(lanes)+1)
		}
	}
	return w
}

// look notes the pending changes of a lane's first users. A user's other lanes may have no place of their own in the
// due index, so all of them are noted.
func (w *watermarks) look(tx *state.Tx, endpoint domain.Endpoint, lane uint32, most int) {
	if state.IsRetry(lane) {
		most = retryScan // in order of the retry: the receipt of those that are not looked at is not known
	}
	n, last := 0, uint32(0)
	for index := range state.Indexes(tx, endpoint, lane, most) {
		n, last = n+1, state.NotYet
		for _, l := range index.Endpoint(endpoint).Lanes {
			last = min(last, l.Due)
			if number, one := state.LaneComputation(l.Number); one {
				w.note(tx, endpoint, number, l.Due)
			} else {
				w.floor = min(w.floor, l.Due)
			}
		}
	}
	switch {
	case n < most:
	case state.IsRetry(lane):
		w.floor = 0
	case endpoint == domain.EndpointCohort: // those that wait for the user's other changes stand at the end, whatever their receipt
		w.floor = min(w.floor, outbox.Second(oldest(tx)))
	default:
		w.floor = min(w.floor, last) // the users after this one were received no earlier than its oldest change
	}
}

// note keeps the earliest second. A lane of the cohort endpoint has the number of the target.
func (w *watermarks) note(tx *state.Tx, endpoint domain.Endpoint, number, due uint32) {
	if fields := tx.State.Registry.Fields; endpoint == domain.EndpointCohort && int(number) < len(fields) {
		number = tx.State.Registry.ComputationOf(fields[number]).Number
	}
	if was, known := w.own[number]; !known || due < was {
		w.own[number] = due
	}
}

// of returns the watermark of a computation: the zero time where none can be said.
func (w *watermarks) of(f *state.Field) time.Time {
	at := w.floor
	if own, pending := w.own[f.Number]; pending {
		at = min(at, own)
	}
	switch {
	case at == 0:
		return time.Time{}
	case at > outbox.Second(w.applied):
		return w.applied
	}
	return time.Unix(int64(at), 0).UTC()
}

// applied returns up to when everything that was received is applied: the second of the first event that is not, or the
// receipt of the newest event. It is not now, so that a stopped agent's files say the same at any time.
func (v *Reader) applied(tx *state.Tx) (at time.Time) {
	for seq := tx.State.Applied + 1; seq <= v.Inbox.Last() && seq <= tx.State.Applied+watermarkScan; seq++ {
		if e := v.record(seq).Event; e != nil {
			return e.Received.Truncate(time.Second)
		}
	}
	for _, f := range tx.State.Registry.Fields {
		at = domain.Later(at, f.LastEvent)
	}
	return at
}
