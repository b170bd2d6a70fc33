package query

import (
	"bytes"
	"cmp"
	"container/heap"
	"iter"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// dueOrder walks the due index as people read it: by endpoint, by time and by user, whatever the lane, and
// users who wait for a retry last. It begins at an entry, or where that would be.
func dueOrder(tx *state.Tx, at []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, endpoint := range [...]domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort, domain.EndpointDelete} {
			for _, retries := range [...]bool{false, true} {
				from := at
				switch {
				case len(at) <= 9:
					from = nil
				case byGroup(at, endpoint, retries) < 0:
					from = nil
				case byGroup(at, endpoint, retries) > 0:
					continue
				}
				for k := range merged(tx, endpoint, retries, from) {
					if !yield(k) {
						return
					}
				}
			}
		}
	}
}

// lookAhead is how many users are read at once, where that is quicker. A usual page has hardly more lines.
const lookAhead = 128

// ahead yields keys of the due index, whose users and their queues it has read before; see engine.Bucket.
func ahead(tx *state.Tx, keys iter.Seq[[]byte]) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for list := range chunks(keys, lookAhead) {
			users := func(yield func([]byte) bool) {
				for _, k := range list {
					if id, _, ok := state.UserOf(k[9:]); ok && !yield(state.UserKey(id)) {
						return
					}
				}
			}
			state.Want(tx.Rows, users)
			state.Want(tx.Queue, users)
			for _, k := range list {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// chunks yields copies of keys, so many at once.
func chunks(keys iter.Seq[[]byte], size int) iter.Seq[[][]byte] {
	return func(yield func([][]byte) bool) {
		var list [][]byte
		for k := range keys {
			if list = append(list, bytes.Clone(k)); len(list) == size {
				if !yield(list) {
					return
				}
				list = nil
			}
		}
		if len(list) > 0 {
			yield(list)
		}
	}
}

// byGroup compares what a key of the due index comes under with an endpoint, and retries on it or not.
func byGroup(k []byte, endpoint domain.Endpoint, retries bool) int {
	lane, _, _ := state.DueParts(k)
	return cmp.Or(cmp.Compare(domain.Endpoint(k[0]), endpoint), cmp.Compare(record.BoolByte(state.IsRetry(lane)), record.BoolByte(retries)))
}

// merged walks the lanes of one endpoint side by side, those of retries or the others, from an entry on.
func merged(tx *state.Tx, endpoint domain.Endpoint, retries bool, at []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var open laneHeap
		for lane := range state.Lanes(tx, endpoint) {
			if state.IsRetry(lane) != retries {
				continue
			}
			from := state.DueKey(endpoint, lane, 0, nil)
			if at != nil {
				from = append(from[:5], at[5:]...)
			}
			w := &laneWalk{c: tx.Due.Cursor(), lane: from[:5]}
			if w.k, _ = w.c.Seek(from); w.here() && at != nil && byDue(w.k, at) < 0 {
				w.k, _ = w.c.Next()
			}
			if w.here() {
				open = append(open, w)
			}
		}
		heap.Init(&open)
		for len(open) > 0 {
			w := open[0]
			if !yield(w.k) {
				return
			}
			if w.k, _ = w.c.Next(); w.here() {
				heap.Fix(&open, 0)
			} else {
				heap.Pop(&open)
			}
		}
	}
}

// byDue compares two keys of a group: by second and user, and then by lane.
func byDue(x, y []byte) int {
	return cmp.Or(bytes.Compare(x[5:], y[5:]), bytes.Compare(x[1:5], y[1:5]))
}

// laneWalk is a place in one lane.
type laneWalk struct {
	c       engine.Cursor
	lane, k []byte
}

func (w *laneWalk) here() bool { return len(w.k) > 9 && bytes.HasPrefix(w.k, w.lane) }

// laneHeap has the lane first whose entry is.
type laneHeap []*laneWalk

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return byDue(h[i].k, h[j].k) < 0 }
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *laneHeap) Push(w any)        { *h = append(*h, w.(*laneWalk)) }
func (h *laneHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
