package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/wire"
)

// Salvaged is what a salvage found of a segment.
type Salvaged struct {
	Records  uint64  // saved
	Lost     []Range // records that stand-ins replace
	Pages    uint64  // unreadable
	Entries  uint64  // unreadable, on pages that could be read
	EdgeLost bool    // records behind the last one saved may be lost too

	repeated bool // the file held records that another chunk or file has
}

// Salvage writes a new segment beside the damaged one at path, under [boltfile.NewPath], from every chunk that can still be read in it.
// It leaves the damaged one as it is. The caller replaces it, as package repair does.
//
// epoch and applied are those of the state; epoch is 0 if the state cannot be read. last is the number of the inbox's last
// record, 0 if it is not known. A record whose checksum is wrong
// stays as it is. A number without a record gets a stand-in, [Records.Lost], because numbers must have no gap. The
// errors are ErrForeign for a segment of another store, and ErrUnsalvageable if no record can be saved of which some may not be applied.
func Salvage(path string, epoch uint32, applied, last uint64, records Records) (*Salvaged, error) {
	file, err := boltpage.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	os.Remove(boltfile.NewPath(path))
	db, err := openFile(boltfile.NewPath(path), false)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	s := &salvager{file: file, db: db, records: records, broken: make(map[uint64][]byte), pending: make(map[uint64][]byte)}
	newest := s.readNeighbours(path)
	if newest && s.last == 0 {
		s.last = last
	}
	if err := s.read(); err != nil {
		return nil, err
	}
	own := s.epoch()
	switch {
	case own != 0 && epoch != 0 && own != epoch:
		return nil, foreignEpoch(path, own, epoch)
	case own == 0 && epoch == 0:
		return nil, fmt.Errorf("%w: neither it nor %s says which store they belong to: restore a backup with `personasync db restore FILE`", boltfile.ErrUnsalvageable, boltfile.StateFile)
	}
	if err := boltfile.Init(db, max(epoch, own), bucketRecords); err != nil {
		return nil, err
	}
	if s.last != 0 && s.last <= applied { // the state has all, so that an end which cannot be read costs nothing
		s.assigned, s.certain = max(s.assigned, s.last), true
	}
	s.found.EdgeLost = s.torn && !s.certain
	if newest {
		s.assigned, s.sure = max(s.assigned, applied), applied // the newest segment holds the records applied last
	}
	if err := s.finish(applied); err != nil {
		return nil, err
	}
	if s.found.EdgeLost && s.found.Records == 0 && !s.found.repeated {
		return nil, fmt.Errorf("%w: no record can be read from %s (%d bytes), and those that were not applied yet are lost; memberships and changes are not: "+
			"`mv %[4]s %[4]s.aside`, start the agent, and have Segment replay the time before it stopped. `personasync db restore FILE` helps only if the backup is younger than these events", boltfile.ErrUnsalvageable, path, file.Size, domain.ShellWord(path))
	}
	return &s.found, errors.Join(db.Sync(), db.Close())
}

// salvager takes chunks out of a damaged segment. Numbers only grow and no chunk is ever written twice, so a whole
// chunk is correct wherever it is found. Its many fields are the place in the file and what a report counts.
type salvager struct {
	file    *boltpage.File
	db      *bolt.DB // the new segment; synced once, at the end
	records Records
	found   Salvaged

	first  uint64 // number that the segment should begin with; 0: unknown
	oldest bool   // no segment comes before it
	last   uint64 // number of the last record that it may have; 0: unknown
	sure   uint64 // a number that the state knows to be assigned; 0: unknown

	meta     map[string][]byte
	assigned uint64            // last number assigned, by the bucket's sequence
	certain  bool              // assigned was read through the newest meta page
	torn     bool              // a part of the tree is unreachable
	broken   map[uint64][]byte // chunks whose lengths do not add up, by first number
	pending  map[uint64][]byte // whole chunks that are not written yet
	nameless uint64            // chunks whose key is no number
	err      error             // of the first flush that failed
}

// numberLimit is higher than the number of any record.
const numberLimit = 1 << 56

// readNeighbours learns from the other segments where the numbers of this one begin. It reports whether the segment is
// the newest with any records.
func (s *salvager) readNeighbours(path string) (newest bool) {
	newest, s.oldest = true, true
	if Number(path) == 1 {
		s.first = 1
	}
	paths, _, _ := Files(filepath.Dir(path))
	for _, other := range paths {
		if other == path {
			continue
		}
		x, err := ReadExtent(other)
		switch {
		case Number(other) < Number(path):
			s.oldest = false
			if s.first = 0; err == nil && max(x.Last, x.LastAssigned) > 0 {
				s.first = max(x.Last, x.LastAssigned) + 1
			}
		case err != nil || x.Last > 0:
			newest = false
			if err == nil && (s.last == 0 || x.First <= s.last) {
				s.last = x.First - 1
			}
		}
	}
	return newest
}

// read copies every chunk that can be found: those in the tree first, then those on pages that it does not reach.
func (s *salvager) read() error {
	limit := s.file.Pages()
	seen := boltpage.NewSet(limit)
	var free boltpage.Set
	m, ok := s.file.Newest()
	s.torn = !ok
	if ok {
		sequences := make(map[string]uint64)
		w := boltpage.Walk{
			File: s.file, Meta: m, Fault: func(error) {},
			Leaf:   func(_ uint64, path []string, list []boltpage.Element) { s.takeAll(path, list) },
			Bucket: func(path []string, sequence uint64) { sequences[path[0]] = sequence },
		}
		w.Run()
		s.learnAssigned(sequences)
		s.torn, seen, free = w.Unreachable > 0, w.Seen, w.Free
		limit = min(limit, m.Pages)
	}
	// With one meta page lost, the last commit may be on pages that the other one calls free.
	if newer, older := s.file.Metas(); !newer.Valid || !older.Valid {
		free, limit, s.torn, s.certain = nil, s.file.Pages(), true, false
	}
	if s.torn {
		s.readOrphans(seen, free, limit)
	}
	return s.flush()
}

// learnAssigned takes the last number assigned from the sequences of the buckets. The name of one bucket may be
// damaged, but not of both.
func (s *salvager) learnAssigned(sequences map[string]uint64) {
	own, known := sequences[string(bucketRecords)]
	if !known && len(sequences) > 1 {
		for name, sequence := range sequences {
			if name != string(boltfile.BucketMeta) {
				own, known = sequence, true
			}
		}
	}
	if known {
		s.assigned, s.certain = max(s.assigned, own), true
	}
}

func (s *salvager) readOrphans(seen, free boltpage.Set, limit uint64) {
	for id := uint64(2); id < limit; id++ {
		if seen.Has(id) || free != nil && free.Has(id) {
			continue
		}
		p, err := s.file.Read(id)
		if p == nil {
			s.found.Pages++
			continue
		}
		if p.IsStructure() {
			continue
		}
		list, whole := s.elements(p)
		s.takeAll(nil, list)
		if whole && err == nil {
			seen.AddPage(p)
		}
	}
}

// elements returns the entries of a page, or the readable ones if its layout is damaged.
func (s *salvager) elements(p *boltpage.Page) (list []boltpage.Element, whole bool) {
	list, err := p.Elements()
	if err == nil {
		return list, true
	}
	list, of := p.Remains()
	s.found.Entries += uint64(of - len(list))
	return list, false
}

func (s *salvager) takeAll(path []string, list []boltpage.Element) {
	for i := range list {
		e := &list[i]
		switch {
		case e.IsBucket():
			s.takeBucket(path, e)
		case len(path) > 0 && path[0] == string(boltfile.BucketMeta):
			s.takeMeta(e)
		case len(e.Key) == 8:
			s.takeChunk(numberOf(e.Key), e.Value, len(path) > 0 && path[0] == string(bucketRecords))
		case len(path) == 0 || path[0] != string(bucketRecords):
			s.takeMeta(e)
		}
	}
}

func (s *salvager) takeMeta(e *boltpage.Element) {
	if s.meta == nil {
		s.meta = make(map[string][]byte)
	}
	s.meta[string(e.Key)] = bytes.Clone(e.Value)
}

// epoch returns the epoch that the segment says, or 0 if its seal is wrong.
func (s *salvager) epoch() uint32 {
	sum := uint32(0)
	for _, k := range [][]byte{boltfile.MetaEpoch, boltfile.MetaFormat} { // in the order of their keys, as boltfile.Sum
		sum = wire.Checksum(wire.Checksum(sum, k), s.meta[string(k)])
	}
	if e := s.meta[string(boltfile.MetaEpoch)]; len(e) == 4 && bytes.Equal(s.meta[string(boltfile.MetaSeal)], binary.BigEndian.AppendUint32(nil, sum)) {
		return binary.BigEndian.Uint32(e)
	}
	return 0
}

// takeBucket reads a bucket that is stored inline in its parent, as a small one is.
func (s *salvager) takeBucket(path []string, e *boltpage.Element) {
	root, sequence, ok := e.Bucket()
	if !ok || len(path) > 0 {
		return
	}
	if bytes.Equal(e.Key, bucketRecords) { // the sequence of meta is the transaction's number
		s.assigned = max(s.assigned, sequence)
	}
	if root != 0 {
		return
	}
	if p, _ := e.Inline(); p != nil {
		list, whole := s.elements(p)
		s.torn = s.torn || !whole
		s.takeAll([]string{string(e.Key)}, list)
	}
}

// takeChunk keeps a chunk. One whose lengths add up is kept as it is: a corrupt record in it harms no other. known
// says that the tree led to it.
func (s *salvager) takeChunk(first uint64, chunk []byte, known bool) {
	if len(chunk) == 0 {
		return
	}
	if first == 0 || first > numberLimit {
		s.nameless++
		first = numberLimit + s.nameless
	}
	list, whole := wire.SplitFrames(chunk)
	good := 0
	for _, f := range list {
		if err := s.records.Check(f); err == nil || errors.Is(err, wire.ErrNewer) {
			good++
		}
	}
	if !whole || !known && (good == 0 || 2*good < len(list)) {
		if _, met := s.broken[first]; !met && good > 0 {
			s.broken[first] = bytes.Clone(chunk)
		}
		return
	}
	s.put(first, chunk)
}

func (s *salvager) put(first uint64, chunk []byte) {
	if _, known := s.pending[first]; !known {
		s.pending[first] = bytes.Clone(chunk)
	}
	if len(s.pending) > 500 && s.err == nil {
		s.err = s.flush()
	}
}

func (s *salvager) flush() error {
	if s.err != nil {
		return s.err
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketRecords)
		if err != nil {
			return err
		}
		b.FillPercent = 1
		for first, chunk := range s.pending {
			if b.Get(keyOf(first)) != nil {
				continue // the chunk in the tree wins
			}
			if err := b.Put(keyOf(first), chunk); err != nil {
				return err
			}
		}
		return nil
	})
	clear(s.pending)
	return err
}

// finish splits the broken chunks, puts every chunk where its numbers belong, and writes a stand-in for every lost
// record.
func (s *salvager) finish(applied uint64) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		b.FillPercent = 1
		for first, chunk := range s.broken {
			if b.Get(keyOf(first)) == nil {
				if err := s.putAroundBreak(b, first, chunk); err != nil {
					return err
				}
			}
		}
		n, err := s.renumber(b, applied)
		if err != nil {
			return err
		}
		for _, r := range n.lost {
			if err := s.putLost(b, r); err != nil {
				return err
			}
		}
		s.found.Lost, s.found.repeated = n.lost, n.repeated
		return b.SetSequence(n.next - min(n.next, 1))
	})
	if err == nil {
		err = s.db.Update(stampTxid)
	}
	return err
}

// putLost puts stand-ins for lost records, in chunks of the usual size.
func (s *salvager) putLost(b *bolt.Bucket, r Range) error {
	for first := r.First; first <= r.Last; {
		var chunk []byte
		n := uint64(0)
		for ; first+n <= r.Last && len(chunk) < chunkBytes; n++ {
			chunk = wire.AppendBytes(chunk, s.records.Lost)
		}
		if err := b.Put(keyOf(first), chunk); err != nil {
			return err
		}
		first += n
	}
	return nil
}

// putAroundBreak saves the records before and behind a break in a chunk. The ones behind it are numbered back from the
// chunk that follows.
func (s *salvager) putAroundBreak(b *bolt.Bucket, first uint64, chunk []byte) error {
	before, behind := s.aroundBreak(chunk)
	end := s.assigned + 1
	if k, _ := b.Cursor().Seek(keyOf(first + 1)); k != nil {
		end = numberOf(k)
	}
	if len(before) > 0 {
		if err := b.Put(keyOf(first), wire.JoinFrames(before)); err != nil {
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
	return b.Put(keyOf(from), wire.JoinFrames(behind))
}

// aroundBreak returns the whole records at the front of a chunk, and those behind the first place from which the rest
// adds up again.
func (s *salvager) aroundBreak(chunk []byte) (before, behind [][]byte) {
	rest := chunk
	for len(rest) > 0 {
		r := wire.NewReader(rest)
		f := r.Bytes()
		if err := s.records.Check(f); !r.OK() || err != nil {
			break
		}
		before, rest = append(before, f), r.Rest()
	}
	for at := 1; at < len(rest); at++ {
		r := wire.NewReader(rest[at:])
		f := r.Bytes()
		if !r.OK() || len(f) < 5 || s.records.Check(f) != nil {
			continue
		}
		if list, whole := wire.SplitFrames(rest[at:]); whole {
			return before, list
		}
	}
	return before, nil
}
