package state

import (
	"slices"
	"strings"
	"sync"
	"time"

	"personasync/store/domain"
)

// Parkings remembers what was parked lately, for those who follow: the parked are in the order of their
// ids. A nil one, of a stopped agent's files, remembers nothing. Its methods may be called concurrently.
type Parkings struct {
	mu    sync.Mutex
	list  []*Stored
	first uint64 // where this process began to count
	last  uint64 // number of the last of list
}

const ParkingsKept = 2000

// NewParkings begins to count where no process before could have come to, so that a cursor of one is older.
func NewParkings(now time.Time) *Parkings {
	return &Parkings{first: uint64(now.UnixMicro()), last: uint64(now.UnixMicro())}
}

func (p *Parkings) Number() uint64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Merge adds what a transaction parked: all of it were so many, of which list has the first.
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

// Since returns what is behind a number, and of how many more it remembers nothing, and sets to to the last one.
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

// NewlyParked is what was parked in this transaction.
type NewlyParked struct {
	Parkings  []*Stored // the first ParkingsKept
	ParkedAll uint64    // how many there were
}

// ParkedNow notes a parked change for who follows, without the bytes that it keeps.
func (n *NewlyParked) ParkedNow(ch *Stored) {
	if n.ParkedAll++; len(n.Parkings) >= ParkingsKept {
		return
	}
	n.Parkings = append(n.Parkings, &Stored{Change: domain.Change{
		ID: ch.ID, Kind: ch.Kind, State: domain.StateParked, User: strings.Clone(ch.User), Computation: ch.Computation, ComputedBy: ch.ComputedBy,
		Transition: ch.Transition, Received: ch.Received, MessageID: ch.MessageID, Reason: ch.Reason, Attempts: ch.Attempts, Answer: domain.Answer{At: ch.Answer.At},
	}})
}
