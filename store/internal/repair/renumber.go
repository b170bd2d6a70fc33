package repair

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/state"
)

// renumbering gives every chunk of a file its place. Keys have no checksum, but no number is ever left out:
// a chunk that fits exactly between its neighbours belongs there, whatever its key says.
type renumbering struct {
	next  uint64 // the number that should come next; 0: not known yet
	given uint64 // the last number given in this file; 0: not known
	sure  uint64 // one that was given for certain; 0: not known
	most  uint64 // records that the file can hold at all

	lost   []RecordRange
	again  bool        // chunks were left out whose numbers other chunks, or the file before, have
	strays []placement // chunks whose key cannot be
	moves  []placement
}

// placement is a chunk: its key, how many records of it count, and where they go.
type placement struct {
	key   uint64
	count uint64
	skip  int // records at its front that another chunk has
	at    uint64
}

func (g *SegmentSalvager) renumber(b *bolt.Bucket, n *renumbering, applied uint64) error {
	var list []placement
	c := b.Cursor()
	for k, chunk := c.First(); k != nil; k, chunk = c.Next() {
		frames, _ := framesOf(chunk)
		list = append(list, placement{key: state.Number(k), count: uint64(len(frames))})
	}
	if n.next == 0 && g.Oldest && len(list) > 0 && list[0].key > applied+1 && list[0].key-applied <= n.most {
		n.next = applied + 1 // nothing before it is left, and the state waits for these
	}
	n.passHole(list, applied)
	for i := range list {
		n.place(list, i)
	}
	n.fill()
	g.Report.Saved.Records = 0
	for i := range list {
		g.Report.Saved.Records += list[i].count
	}
	return n.move(b)
}

// passHole moves next past a hole in front of the file that is larger than the file: whole files before it are
// missing. Without that its chunks would count as strays, and take numbers that are applied already: a record that
// is not applied yet would never be. The writer counts as lost what of the hole the state did not know.
func (n *renumbering) passHole(list []placement, applied uint64) {
	if n.next == 0 || len(list) == 0 || list[0].key <= n.next || list[0].key-n.next <= n.most || n.next+list[0].count == n.end(list, 0) {
		return
	}
	if first := list[0].key; first <= n.given && n.given-first < n.most { // the last number given agrees with the keys
		n.next = first
	} else {
		n.next = min(first, max(n.next, applied+1))
	}
}

// end returns the number that should follow chunk i.
func (n *renumbering) end(list []placement, i int) uint64 {
	if i+1 < len(list) {
		return list[i+1].key
	}
	return n.given + 1
}

func (n *renumbering) place(list []placement, i int) {
	p := list[i]
	switch {
	case n.next == 0 || p.key == n.next:
		n.put(p, p.key)
	case p.key > n.next && n.next+p.count == n.end(list, i):
		n.put(p, n.next)
	case p.key < n.next: // an older try at the same numbers, which was never acknowledged
		p.skip = int(min(p.count, n.next-p.key))
		p.count -= uint64(p.skip)
		n.again = true
		n.put(p, n.next)
		list[i].count = p.count
	case p.key-n.next > n.most && (n.given < p.key || p.key-n.next < state.RestoreJump), n.given != 0 && p.key > n.given:
		n.strays = append(n.strays, p)
	case p.key-n.next >= state.RestoreJump:
		n.put(p, p.key)
	default:
		n.lost = append(n.lost, RecordRange{n.next, p.key - 1})
		n.put(p, p.key)
	}
}

func (n *renumbering) put(p placement, at uint64) {
	if p.at = at; p.at != p.key || p.skip > 0 {
		n.moves = append(n.moves, p)
	}
	n.next = at + p.count
}

// fill puts strays into holes of their size, and the others behind everything: applied again, they
// change nothing that is newer. What then is missing up to the last number given is lost.
func (n *renumbering) fill() {
	for _, p := range n.strays {
		hole := slices.IndexFunc(n.lost, func(r RecordRange) bool { return r.Last-r.First+1 == p.count })
		if hole >= 0 {
			p.at = n.lost[hole].First
			n.lost = slices.Delete(n.lost, hole, hole+1)
			n.moves = append(n.moves, p)
			continue
		}
		n.put(p, n.next)
	}
	if n.given != 0 && n.next == 0 && n.given <= n.most {
		n.next = 1
	}
	if n.next != 0 && n.given >= n.next && (n.given-n.next < n.most || n.given == n.sure && n.given < state.RestoreJump) {
		n.lost = append(n.lost, RecordRange{n.next, n.given})
		n.next = n.given + 1
	}
}

// move writes the chunks that stand elsewhere now.
func (n *renumbering) move(b *bolt.Bucket) error {
	chunks := make([][]byte, len(n.moves))
	for i, p := range n.moves {
		list, _ := framesOf(bytes.Clone(b.Get(state.NumberKey(p.key))))
		chunks[i] = joinFrames(list[p.skip:])
	}
	for _, p := range n.moves {
		if err := b.Delete(state.NumberKey(p.key)); err != nil {
			return err
		}
	}
	for i, p := range n.moves {
		if len(chunks[i]) == 0 {
			continue
		}
		if err := b.Put(state.NumberKey(p.at), chunks[i]); err != nil {
			return err
		}
	}
	return nil
}
