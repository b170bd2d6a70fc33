package repair

import (
	"bytes"
	"encoding/binary"
	"errors"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// A SegmentSalvager takes chunks of records out of a damaged inbox file. Numbers only grow and no chunk is
// ever written twice, so a chunk that is whole is true wherever it is found.
type SegmentSalvager struct {
	File   *boltpage.File
	DB     *bolt.DB
	Report *Salvage

	meta    map[string][]byte
	First   uint64            // where the numbers should begin; 0: not known
	Oldest  bool              // no file comes before it
	Given   uint64            // the last number given, as the bucket says
	Certain bool              // that was read by way of the newest head
	Sure    uint64            // a number that was given for certain, as the state says
	Torn    bool              // a part of the tree is out of reach
	Broken  map[uint64][]byte // chunks whose lengths do not add up, by their first number
	pending map[uint64][]byte
	again   bool // it held records that are elsewhere
	err     error

	nameless uint64 // chunks whose key is no number
}

// noNumber is further on than any record's number.
const noNumber = 1 << 56

func (g *SegmentSalvager) Read() error {
	limit := g.File.Pages()
	seen := boltpage.NewSet(limit)
	var free boltpage.Set
	m, ok := g.File.Newest()
	g.Torn = !ok
	if ok {
		given := make(map[string]uint64)
		w := boltpage.Walk{
			File: g.File, Meta: m, Fault: func(error) {},
			Leaf: func(_ uint64, path []string, list []boltpage.Element) { g.takeAll(path, list) },
			Bucket: func(path []string, sequence uint64) {
				given[path[0]] = sequence
			},
		}
		w.Run()
		g.learnGiven(given)
		g.Torn, seen, free = w.Unreachable > 0, w.Seen, w.Free
		limit = min(limit, m.Pages)
	}
	// With one head lost the last commit may be among the pages that the other calls free.
	if newer, older := g.File.Heads(); !newer.Valid || !older.Valid {
		free, limit, g.Torn, g.Certain = nil, g.File.Pages(), true, false
	}
	if g.Torn {
		g.readOrphans(seen, free, limit)
	}
	return g.flush()
}

// learnGiven takes the last number given from the sequences of the buckets. A name may have been hit, but
// not both.
func (g *SegmentSalvager) learnGiven(sequences map[string]uint64) {
	own, known := sequences[string(wal.BucketRecords)]
	if !known && len(sequences) > 1 {
		for name, sequence := range sequences {
			if name != string(state.BucketMeta) {
				own, known = sequence, true
			}
		}
	}
	if known {
		g.Given, g.Certain = max(g.Given, own), true
	}
}

func (g *SegmentSalvager) readOrphans(seen, free boltpage.Set, limit uint64) {
	for id := uint64(2); id < limit; id++ {
		if seen.Has(id) || free != nil && free.Has(id) {
			continue
		}
		p, err := g.File.Read(id)
		if p == nil {
			g.Report.Pages++
			continue
		}
		if p.IsStructure() {
			continue
		}
		list, layout := p.Elements()
		if layout != nil {
			of := 0
			list, of = p.Remains()
			g.Report.Entries += uint64(of - len(list))
		}
		g.takeAll(nil, list)
		if layout == nil && err == nil {
			seen.AddPage(p)
		}
	}
}

func (g *SegmentSalvager) takeAll(path []string, list []boltpage.Element) {
	for i := range list {
		e := &list[i]
		switch {
		case e.IsBucket():
			g.takeBucket(path, e)
		case len(path) > 0 && path[0] == string(state.BucketMeta):
			g.takeMeta(e)
		case len(e.Key) == 8:
			g.takeChunk(state.Number(e.Key), e.Value, len(path) > 0 && path[0] == string(wal.BucketRecords))
		case len(path) == 0 || path[0] != string(wal.BucketRecords):
			g.takeMeta(e)
		}
	}
}

func (g *SegmentSalvager) takeMeta(e *boltpage.Element) {
	if g.meta == nil {
		g.meta = make(map[string][]byte)
	}
	g.meta[string(e.Key)] = bytes.Clone(e.Value)
}

// Epoch returns the epoch that the file says, 0 if that cannot be relied on.
func (g *SegmentSalvager) Epoch() uint32 {
	sum := uint32(0)
	for _, k := range [][]byte{boltfile.MetaEpoch, boltfile.MetaFormat} { // in the order of their keys, as metaSum
		sum = wire.Checksum(wire.Checksum(sum, k), g.meta[string(k)])
	}
	if e := g.meta[string(boltfile.MetaEpoch)]; len(e) == 4 && bytes.Equal(g.meta[string(boltfile.MetaSeal)], binary.BigEndian.AppendUint32(nil, sum)) {
		return binary.BigEndian.Uint32(e)
	}
	return 0
}

// takeBucket looks into a bucket that is stored within its parent, which only a small one is.
func (g *SegmentSalvager) takeBucket(path []string, e *boltpage.Element) {
	root, sequence, ok := e.Bucket()
	if !ok || len(path) > 0 {
		return
	}
	if bytes.Equal(e.Key, wal.BucketRecords) { // that of meta counts commits
		g.Given = max(g.Given, sequence)
	}
	if root != 0 {
		return
	}
	if p, _ := e.Inline(); p != nil {
		list, err := p.Elements()
		if err != nil {
			of := 0
			list, of = p.Remains()
			g.Report.Entries += uint64(of - len(list))
			g.Torn = true
		}
		g.takeAll([]string{string(e.Key)}, list)
	}
}

// takeChunk keeps a chunk. One that is framed as it should be is kept as it is: a record that does
// not add up in it harms no other. known says that the tree led to it.
func (g *SegmentSalvager) takeChunk(first uint64, chunk []byte, known bool) {
	if len(chunk) == 0 {
		return
	}
	if first == 0 || first > noNumber {
		g.nameless++
		first = noNumber + g.nameless
	}
	list, whole := framesOf(chunk)
	good := 0
	for _, f := range list {
		if _, err := record.DecodeRecord(first, f); err == nil || errors.Is(err, wire.ErrNewer) {
			good++
		}
	}
	if !whole || !known && (good == 0 || 2*good < len(list)) {
		if _, met := g.Broken[first]; !met && good > 0 {
			g.Broken[first] = bytes.Clone(chunk)
		}
		return
	}
	g.put(first, chunk)
}

func (g *SegmentSalvager) put(first uint64, chunk []byte) {
	if g.pending == nil {
		g.pending = make(map[uint64][]byte)
	}
	if _, known := g.pending[first]; !known {
		g.pending[first] = bytes.Clone(chunk)
	}
	if len(g.pending) > 500 && g.err == nil {
		g.err = g.flush()
	}
}

func (g *SegmentSalvager) flush() error {
	if g.err != nil {
		return g.err
	}
	err := g.DB.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(wal.BucketRecords)
		if err != nil {
			return err
		}
		b.FillPercent = 1
		for first, chunk := range g.pending {
			if b.Get(state.NumberKey(first)) != nil {
				continue // what the tree had comes first
			}
			if err := b.Put(state.NumberKey(first), chunk); err != nil {
				return err
			}
		}
		return nil
	})
	clear(g.pending)
	return err
}

// framesOf splits a chunk; whole says that its lengths add up.
func framesOf(chunk []byte) (list [][]byte, whole bool) {
	f := wal.Frames{Rest: chunk}
	for f.Next() {
		list = append(list, f.Frame)
	}
	return list, f.Err == nil
}

// Finish numbers what the broken chunks still hold, puts a record that says so in the place of every
// lost one, and counts these.
func (g *SegmentSalvager) Finish(applied uint64) error {
	return g.DB.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(wal.BucketRecords)
		b.FillPercent = 1
		for first, chunk := range g.Broken {
			if b.Get(state.NumberKey(first)) == nil {
				if err := g.mend(b, first, chunk); err != nil {
					return err
				}
			}
		}
		m, _ := g.File.Newest()
		n := renumbering{next: g.First, given: g.Given, sure: g.Sure, most: max(uint64(g.File.Size), m.Pages*uint64(g.File.PageSize)) / minRecord}
		if err := g.renumber(b, &n, applied); err != nil {
			return err
		}
		for _, r := range n.lost {
			g.Report.Lost.Records += r.Last - r.First + 1
			g.Report.Unapplied += less(r.Last, max(applied, r.First-1))
			if err := putLost(b, r); err != nil {
				return err
			}
		}
		g.Report.RecordsLost, g.again = n.lost, n.again
		return b.SetSequence(n.next - min(n.next, 1))
	})
}

// minRecord is less than any record takes with its chunk: what a file cannot hold was never in it.
const minRecord = 6

// putLost puts records that stand for lost ones, in chunks like any others.
func putLost(b *bolt.Bucket, r RecordRange) error {
	frame := wire.Seal([]byte{record.RecordLost}, 0)
	for first := r.First; first <= r.Last; {
		var chunk []byte
		n := uint64(0)
		for ; first+n <= r.Last && len(chunk) < wal.ChunkBytes; n++ {
			chunk = wire.AppendBytes(chunk, frame)
		}
		if err := b.Put(state.NumberKey(first), chunk); err != nil {
			return err
		}
		first += n
	}
	return nil
}

// Empty reports whether nothing was found that speaks of a record.
func (g *SegmentSalvager) Empty() bool {
	return g.Report.EdgeLost && g.Report.Saved.Records == 0 && !g.again
}

// mend saves the records before and behind a break in a chunk. Those behind it are numbered from the
// chunk that follows.
func (g *SegmentSalvager) mend(b *bolt.Bucket, first uint64, chunk []byte) error {
	before, behind := aroundBreak(first, chunk)
	end := g.Given + 1
	if k, _ := b.Cursor().Seek(state.NumberKey(first + 1)); k != nil {
		end = state.Number(k)
	}
	if len(before) > 0 {
		if err := b.Put(state.NumberKey(first), joinFrames(before)); err != nil {
			return err
		}
	}
	from := first + uint64(len(before)) + 1
	if end > from {
		from = max(from, end-min(end, uint64(len(behind))))
	}
	if len(behind) == 0 {
		return nil
	}
	return b.Put(state.NumberKey(from), joinFrames(behind))
}

func joinFrames(list [][]byte) (chunk []byte) {
	for _, f := range list {
		chunk = wire.AppendBytes(chunk, f)
	}
	return chunk
}

// aroundBreak returns the whole records from the front of a chunk, and those behind the first place
// from which the rest adds up again.
func aroundBreak(first uint64, chunk []byte) (before, behind [][]byte) {
	rest := chunk
	for len(rest) > 0 {
		r := wire.NewReader(rest)
		f := r.Bytes()
		if _, err := record.DecodeRecord(first, f); !r.OK() || err != nil {
			break
		}
		before, rest = append(before, f), r.Rest()
	}
	for at := 1; at < len(rest); at++ {
		r := wire.NewReader(rest[at:])
		f := r.Bytes()
		if !r.OK() || len(f) < 5 {
			continue
		}
		if _, err := record.DecodeRecord(first, f); err != nil {
			continue
		}
		if list, whole := framesOf(rest[at:]); whole {
			return before, list
		}
	}
	return before, nil
}
