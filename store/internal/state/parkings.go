package state

import (
	"slices"
	"strings"
	"sync"
	"time"

	"personasync/store/domain"
)

// Parkings remembers the last parked changes for readers of the activity; the bucket of parked changes is sorted by
// id, not by time. A nil one, of the files of a stopped agent, remembers nothing. Its methods may be called
// concurrently.
type Parkings struct {
	mu    sync.Mutex
	list  []*Stored
	first uint64 // the number at which this process began
	last  uint64 // number of the last of list
}

// ParkingsKept is how many parked changes are remembered.
const ParkingsKept = 2000

// NewParkings starts the numbers at the clock, in µs. An earlier process cannot have counted that far, so its
// cursors are older.
func NewParkings(now time.Time) *Parkings {
	return &Parkings{first: uint64(now.UnixMicro()), last: uint64(now.UnixMicro())}
}

// Number returns the number of the last parked change.
func (p *Parkings) Number() uint64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Merge adds the changes that a transaction parked. all is their number; list has the first of them.
func (p *Parkings) Merge(list []*Stored, all uint64) {
	if p == nil || len(list) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last += all
	p.list = append(p.list, list[max(0, len(list)-ParkingsKept):]...)
	p.list = slices.Delete(p.list, 0, max(0, len(p.list)-ParkingsKept))
}

// Since returns the changes after number from, and how many more are not remembered. It sets to to the last number.
func (p *Parkings) Since(from uint64, to *uint64) (list []*Stored, skipped uint64) {
	if p == nil {
		return nil, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	*to = p.last
	if from >= p.last {
		return nil, 0
	}
	list = slices.Clone(p.list[max(0, len(p.list)-int(min(p.last-from, ParkingsKept))):])
	behind := p.last - max(from, p.first)
	return list, behind - min(behind, uint64(len(list)))
}

// NewlyParked collects the changes that a transaction parked, for the activity.
type NewlyParked struct {
	Parkings  []*Stored // the first ParkingsKept
	ParkedAll uint64    // how many there were
}

// ParkedNow notes a parked change without its value, event or answer, which a line of activity does not show.
func (n *NewlyParked) ParkedNow(ch *Stored) {
	if n.ParkedAll++; len(n.Parkings) >= ParkingsKept {
		return
	}
	n.Parkings = append(n.Parkings, &Stored{Change: domain.Change{
		ID: ch.ID, Kind: ch.Kind, State: domain.StateParked, User: strings.Clone(ch.User), Computation: ch.Computation, ComputedBy: ch.ComputedBy,
		Transition: ch.Transition, Received: ch.Received, MessageID: ch.MessageID, Reason: ch.Reason, Attempts: ch.Attempts, Answer: domain.Answer{At: ch.Answer.At},
	}})
}
