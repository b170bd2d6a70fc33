package wal

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/wire"
)

// RestoreJump is a jump in the numbers that only a restore makes: it goes on at the microseconds since 1970.
const RestoreJump = 1 << 40

// minRecord is less than any record takes with its chunk. A segment never held more records than its size allows.
const minRecord = 6

// renumbering gives each chunk of a salvaged segment its place. Keys have no checksum, but the numbers of a store have
// no gap. So a chunk that fits exactly between its neighbours belongs there, whatever its key says.
type renumbering struct {
	next     uint64 // number that should come next; 0: unknown so far
	assigned uint64 // last number assigned in this segment; 0: unknown
	sure     uint64 // a number that is known to be assigned; 0: unknown
	most     uint64 // records that the segment can hold at all

	lost      []Range
	repeated  bool        // chunks were left out because another chunk, or the segment before, has their numbers
	displaced []placement // chunks whose key cannot be right
	moves     []placement
}

// placement is where a chunk goes.
type placement struct {
	key   uint64
	skip  int    // records at its front that another chunk has
	count uint64 // records that follow them
	at    uint64 // number of the first of these
}

// renumber moves the chunks of b to where their numbers belong, and counts the records.
func (s *salvager) renumber(b *bolt.Bucket, applied uint64) (*renumbering, error) {
	m, _ := s.file.Newest()
	n := &renumbering{
		next: s.first, assigned: s.assigned, sure: s.sure,
		most: max(uint64(s.file.Size), m.Pages*uint64(s.file.PageSize)) / minRecord,
	}
	var list []placement
	c := b.Cursor()
	for k, chunk := c.First(); k != nil; k, chunk = c.Next() {
		frames, _ := wire.SplitFrames(chunk)
		list = append(list, placement{key: numberOf(k), count: uint64(len(frames))})
	}
	if n.next == 0 && s.oldest && len(list) > 0 && list[0].key > applied+1 && list[0].key-applied <= n.most {
		n.next = applied + 1 // the segments before are gone, and the state has not applied their records
	}
	n.passHole(list, applied)
	for i := range list {
		n.place(list, i)
	}
	n.fill()
	s.found.Records = 0
	for i := range list {
		s.found.Records += list[i].count
	}
	return n, n.move(b)
}

// passHole moves next past a hole in front of the segment that is larger than the segment: whole segments before it are
// missing. Otherwise its chunks would count as displaced and take numbers that are applied already, so a record that is
// not applied yet never would be. The writer counts as lost the records of the hole that the state did not apply.
func (n *renumbering) passHole(list []placement, applied uint64) {
	if n.next == 0 || len(list) == 0 || list[0].key <= n.next || list[0].key-n.next <= n.most || n.next+list[0].count == n.end(list, 0) {
		return
	}
	if first := list[0].key; n.isLate(first) {
		n.next = first
	} else {
		n.next = min(first, max(n.next, applied+1))
	}
}

// isLate reports whether the last number assigned agrees that a record near the end of the segment has the number key.
func (n *renumbering) isLate(key uint64) bool { return key <= n.assigned && n.assigned-key < n.most }

// end returns the number that should follow chunk i.
func (n *renumbering) end(list []placement, i int) uint64 {
	if i+1 < len(list) {
		return list[i+1].key
	}
	return n.assigned + 1
}

func (n *renumbering) place(list []placement, i int) {
	p := list[i]
	switch {
	case n.next == 0 || p.key == n.next:
		n.put(p, p.key)
	case p.key > n.next && n.next+p.count == n.end(list, i):
		n.put(p, n.next)
	case p.key < n.next: // an older attempt at the same numbers, which was never acknowledged
		p.skip = int(min(p.count, n.next-p.key))
		p.count -= uint64(p.skip)
		n.repeated = true
		n.put(p, n.next)
		list[i].count = p.count
	case p.key-n.next > n.most && n.isLate(p.key): // a hole that is too large for stand-ins: files were removed
		n.put(p, p.key)
	case p.key-n.next > n.most && (n.assigned < p.key || p.key-n.next < RestoreJump), n.assigned != 0 && p.key > n.assigned:
		n.displaced = append(n.displaced, p)
	case p.key-n.next >= RestoreJump:
		n.put(p, p.key)
	default:
		n.lost = append(n.lost, Range{n.next, p.key - 1})
		n.put(p, p.key)
	}
}

func (n *renumbering) put(p placement, at uint64) {
	if p.at = at; p.at != p.key || p.skip > 0 {
		n.moves = append(n.moves, p)
	}
	n.next = at + p.count
}

// fill puts displaced chunks into holes of their size, and the others behind everything. Applying those a second time
// is harmless, because they are not newer than the state. Records still missing up to the last number assigned are
// lost.
func (n *renumbering) fill() {
	for _, p := range n.displaced {
		hole := slices.IndexFunc(n.lost, func(r Range) bool { return r.Last-r.First+1 == p.count })
		if hole >= 0 {
			p.at = n.lost[hole].First
			n.lost = slices.Delete(n.lost, hole, hole+1)
			n.moves = append(n.moves, p)
			continue
		}
		n.put(p, n.next)
	}
	if n.assigned != 0 && n.next == 0 && n.assigned <= n.most {
		n.next = 1
	}
	if n.next != 0 && n.assigned >= n.next && (n.assigned-n.next < n.most || n.assigned == n.sure && n.assigned < RestoreJump) {
		n.lost = append(n.lost, Range{n.next, n.assigned})
		n.next = n.assigned + 1
	}
}

// move writes the chunks that change their place. It reads all of them before it deletes any, because one may go where
// another was.
func (n *renumbering) move(b *bolt.Bucket) error {
	chunks := make([][]byte, len(n.moves))
	for i, p := range n.moves {
		list, _ := wire.SplitFrames(bytes.Clone(b.Get(keyOf(p.key))))
		chunks[i] = wire.JoinFrames(list[p.skip:])
	}
	for _, p := range n.moves {
		if err := b.Delete(keyOf(p.key)); err != nil {
			return err
		}
	}
	for i, p := range n.moves {
		if len(chunks[i]) == 0 {
			continue
		}
		if err := b.Put(keyOf(p.at), chunks[i]); err != nil {
			return err
		}
	}
	return nil
}
