package refusal

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Counts counts the refused requests. The writer writes the counts with its next transaction. Its methods may be
// called concurrently.
//
// A reader of the activity gets one line for each refusal of a kind, up to burst lines. After that a line
// every pause sums up the refusals since. So a flood is one line in ten seconds, and hides nothing else.
type Counts struct {
	mu       sync.Mutex
	kinds    map[domain.Refusal]*kind
	received domain.LastReceived
	dirty    bool // some counts are not on disk

	lines []domain.Refusal // the latest; Count is of the line
	last  uint64           // number of the last of lines
}

type kind struct {
	domain.Refusal
	tokens float64   // lines that may go out at once
	filled time.Time // when tokens was computed
	silent uint64    // refusals without a line yet
}

// burst is how many lines of one kind may follow each other at once.
const (
	burst         = 5
	pause         = 10 * time.Second
	kept          = 500
	refusalsFrame = byte(1)
)

// New starts the numbers of its lines at the clock, like NewParkings.
func New(now time.Time) *Counts {
	return &Counts{kinds: make(map[domain.Refusal]*kind), last: uint64(now.UnixMicro())}
}

// Load takes over the counts on disk. total is the ledger's count, which is older than the kinds.
func (r *Counts) Load(tx engine.Tx, total uint64) error {
	list, received, err := Read(tx, total)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = received
	for i := range list {
		r.kinds[list[i].OfKind()] = &kind{Refusal: list[i], tokens: burst}
	}
	return nil
}

// Read reads the counts by kind, and adds what the ledger counted without one.
func Read(tx interface{ Bucket([]byte) engine.Bucket }, total uint64) (list []domain.Refusal, received domain.LastReceived, err error) {
	if frame := tx.Bucket(state.BucketMeta).Get(state.MetaRefusals); frame != nil {
		if list, received, err = Decode(frame); err != nil {
			return nil, received, fmt.Errorf("read the refusals: %w", err)
		}
	}
	if known := Sum(list); total > known {
		list = append(list, domain.Refusal{Count: total - known})
	}
	return list, received, nil
}

// Sum returns the number of refusals of all kinds.
func Sum(list []domain.Refusal) (sum uint64) {
	for i := range list {
		sum += list[i].Count
	}
	return sum
}

// Count adds one refusal at its Last.
func (r *Counts) Count(one domain.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kinds[one.OfKind()]
	if k == nil {
		k = &kind{Refusal: one.OfKind(), tokens: burst, filled: one.Last}
		r.kinds[one.OfKind()] = k
	}
	k.Count++
	k.Last = one.Last
	k.silent++
	r.dirty = true
	r.speak(k, one.Last)
}

// speak adds a line about the refusals that have none yet, if one is due. The caller holds mu.
func (r *Counts) speak(k *kind, now time.Time) {
	k.tokens = min(burst, k.tokens+max(0, float64(now.Sub(k.filled))/float64(pause)))
	k.filled = now
	if k.silent == 0 || k.tokens < 1 {
		return
	}
	line := k.Refusal
	line.Count = k.silent
	r.lines = append(r.lines, line)
	r.lines = slices.Delete(r.lines, 0, max(0, len(r.lines)-kept))
	r.last++
	k.tokens--
	k.silent = 0
}

// NoteReceived notes when requests of each route last came.
func (r *Counts) NoteReceived(received domain.LastReceived) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.received != received {
		r.received, r.dirty = received, true
	}
}

// List returns the counts by kind, the most frequent first, and when requests last came.
func (r *Counts) List() (list []domain.Refusal, received domain.LastReceived) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.kinds {
		list = append(list, k.Refusal)
	}
	Sort(list)
	return list, r.received
}

// Sort sorts kinds by count, the most frequent first, and then by name.
func Sort(list []domain.Refusal) {
	slices.SortFunc(list, func(a, b domain.Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code), cmp.Compare(record.BoolByte(b.Delivery), record.BoolByte(a.Delivery)))
	})
}

// Unwritten reports whether the file lacks some of the counts.
func (r *Counts) Unwritten() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dirty
}

// Write puts the counts into a transaction. Call Failed if the transaction fails.
func (r *Counts) Write(tx *state.Tx) {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = false
	r.mu.Unlock()
	if !dirty {
		return
	}
	list, received := r.List()
	tx.State.Ledger.Rejected = Sum(list)
	tx.Put(tx.Bucket(state.BucketMeta), state.MetaRefusals, encode(list, received))
}

// Failed has the counts written again, because the transaction that had them failed.
func (r *Counts) Failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirty = true
}

func encode(list []domain.Refusal, received domain.LastReceived) []byte {
	buf := wire.AppendTime(wire.AppendTime([]byte{refusalsFrame}, received.Webhook), received.Tracking)
	buf = wire.AppendUint(buf, uint64(len(list)))
	for i := range list {
		r := &list[i]
		buf = wire.AppendUint(wire.AppendString(buf, r.Route), uint64(r.Status))
		buf = wire.AppendString(buf, r.Code)
		buf = append(buf, record.BoolByte(r.Delivery))
		buf = wire.AppendTime(wire.AppendUint(buf, r.Count), r.Last)
	}
	return wire.Seal(buf, 0)
}

// Decode reads the counts from their frame.
func Decode(frame []byte) (list []domain.Refusal, received domain.LastReceived, err error) {
	r, err := wire.Unseal(frame, refusalsFrame)
	if err != nil {
		return nil, received, err
	}
	received = domain.LastReceived{Webhook: r.Time(), Tracking: r.Time()}
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		list = append(list, domain.Refusal{Route: r.Text(), Status: int(r.Uint()), Code: r.Text(), Delivery: r.Byte() == 1, Count: r.Uint(), Last: r.Time()})
	}
	return list, received, r.Done()
}

// Number returns the number of the last line.
func (r *Counts) Number() uint64 {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Since returns the lines after number from, and sets to to the last number. Refusals without a line get one here if
// it is due.
func (r *Counts) Since(from uint64, to *uint64, now time.Time) []domain.Refusal {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.kinds {
		if k.silent > 0 {
			r.speak(k, now)
		}
	}
	*to = r.last
	if from >= r.last {
		return nil
	}
	return slices.Clone(r.lines[max(0, len(r.lines)-int(min(r.last-from, kept))):])
}
