package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"personasync/store/internal/wire"
)

// This file reads bbolt's pages without bbolt, which trusts them: it maps the file and follows its
// pointers, so that one wrong byte can kill the process, past every recover. Here every page is read,
// every number held against its bounds, and an unreadable sector is an error like any other.
//
//	page     id 8 | flags 2 | count 2 | overflow 4 | elements | keys and values
//	branch   offset 4 | key length 4 | page 8
//	leaf     flags 4 | offset 4 | key length 4 | value length 4
//	meta     magic 4 | version 4 | page size 4 | flags 4 | root 8 | sequence 8 | freelist 8 | pages 8 | transaction 8 | FNV-1a 8
//	bucket   root 8 | sequence 8, and a whole page behind them when root is 0
//
// Numbers are in the byte order of the machine. bbolt lays the keys and values of a page end to end,
// right behind the elements; so offsets, lengths and count say everything twice, and a wrong one shows.

const (
	pageHeader  = 16
	elementSize = 16
	metaSize    = 64

	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageMeta     = 0x04
	pageFreelist = 0x10

	bucketElement = 0x01 // flag of a leaf element: the value is a bucket

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)

	// maxPageBytes bounds one page with its overflow: the largest value is a webhook body of a few
	// MiB, the largest freelist 8 bytes for each page of a 128 GiB file.
	maxPageBytes = 256 << 20
)

var byteOrder = binary.NativeEndian

// pageFile is a bbolt file as bytes.
type pageFile struct {
	f        *os.File
	size     int64
	pageSize int64
	metas    [2]fileMeta
}

// fileMeta is one of the two heads of a file; commits write them in turn.
type fileMeta struct {
	valid    bool
	root     uint64
	freelist uint64
	pages    uint64 // one more than the last page in use
	txid     uint64
}

// openPages opens path for reading page by page. A file without a readable head is no error: its
// pages may still be.
func openPages(path string) (*pageFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	p := &pageFile{f: f, size: info.Size(), pageSize: int64(os.Getpagesize())}
	p.readMetas()
	return p, nil
}

func (p *pageFile) close() { p.f.Close() }

// readMetas finds the page size, and reads both heads with it.
func (p *pageFile) readMetas() {
	buf := make([]byte, pageHeader+metaSize)
	for at := int64(0); at <= 16<<20; at = max(1024, at*2) { // the second head is a page behind the first
		if size := p.metaAt(at, buf, &fileMeta{}); size != 0 {
			p.pageSize = size
			break
		}
	}
	for i := range p.metas {
		p.metaAt(int64(i)*p.pageSize, buf, &p.metas[i])
	}
}

// metaAt reads a head; the page size it returns is 0 when there is no valid one, an unreadable sector
// included.
func (p *pageFile) metaAt(at int64, buf []byte, m *fileMeta) (pageSize int64) {
	if _, err := p.f.ReadAt(buf, at); err != nil {
		return 0
	}
	b := buf[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:56])
	size := int64(byteOrder.Uint32(b[8:]))
	if byteOrder.Uint32(b) != boltMagic || byteOrder.Uint32(b[4:]) != boltVersion || byteOrder.Uint64(b[56:]) != sum.Sum64() ||
		size < 512 || size > 16<<20 {
		return 0
	}
	*m = fileMeta{
		valid: byteOrder.Uint16(buf[8:]) == pageMeta && byteOrder.Uint64(buf) == uint64(at/size),
		root:  byteOrder.Uint64(b[16:]), freelist: byteOrder.Uint64(b[32:]),
		pages: byteOrder.Uint64(b[40:]), txid: byteOrder.Uint64(b[48:]),
	}
	return size
}

// newest returns the head of the last commit that is still readable.
func (p *pageFile) newest() (m fileMeta, ok bool) {
	for _, c := range p.metas {
		if c.valid && (!m.valid || c.txid > m.txid) {
			m = c
		}
	}
	return m, m.valid
}

// heads returns both heads, that of the newer commit first, readable or not.
func (p *pageFile) heads() (newer, older fileMeta) {
	if p.metas[1].txid > p.metas[0].txid {
		return p.metas[1], p.metas[0]
	}
	return p.metas[0], p.metas[1]
}

// pagesInFile is how many whole pages the file has.
func (p *pageFile) pagesInFile() uint64 { return uint64(p.size / p.pageSize) }

// glance looks at what costs two reads: both heads, and that nothing was cut off. bbolt itself goes
// back to the other head without a word when one is unreadable, and the last commit is gone.
func (p *pageFile) glance() error {
	m, ok := p.newest()
	switch {
	case !ok:
		return errors.New("neither head of the file is readable")
	case !p.metas[0].valid || !p.metas[1].valid:
		return errors.New("one of the two heads of the file is unreadable")
	case m.pages > p.pagesInFile():
		return fmt.Errorf("the file was cut off: %d of its %d pages are there", p.pagesInFile(), m.pages)
	}
	return nil
}

// page is one page with its overflow.
type page struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64
	data     []byte // whole, header included
}

// read reads page id. The error says what is wrong with it; what could be read comes along, nil if
// nothing.
func (p *pageFile) read(id uint64) (*page, error) {
	if id >= p.pagesInFile() {
		return nil, fmt.Errorf("page %d is behind the end of the file", id)
	}
	data := make([]byte, p.pageSize)
	if _, err := p.f.ReadAt(data, int64(id)*p.pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	g := &page{id: byteOrder.Uint64(data), flags: byteOrder.Uint16(data[8:]), count: int(byteOrder.Uint16(data[10:])), overflow: uint64(byteOrder.Uint32(data[12:])), data: data}
	if g.id != id {
		return g, fmt.Errorf("page %d says it is page %d", id, g.id)
	}
	if g.overflow == 0 {
		return g, nil
	}
	length := int64(g.overflow+1) * p.pageSize
	if id+g.overflow >= p.pagesInFile() || length > maxPageBytes {
		return g, fmt.Errorf("page %d says it is %d pages long", id, g.overflow+1)
	}
	whole := make([]byte, length)
	if _, err := p.f.ReadAt(whole, int64(id)*p.pageSize); err != nil {
		return g, fmt.Errorf("read page %d: %w", id, err)
	}
	g.data = whole
	return g, nil
}

// isLeaf reports whether the page has keys and values.
func (g *page) isLeaf() bool { return g.flags == pageLeaf }

// isStructure reports whether the page is of a kind that has no keys and values.
func (g *page) isStructure() bool {
	return g.flags == pageBranch || g.flags == pageFreelist || g.flags == pageMeta
}

// element is one entry of a page.
type element struct {
	flags      uint32 // leaf
	child      uint64 // branch
	key, value []byte
}

// elements takes a page apart and insists on the layout that bbolt writes.
func (g *page) elements() ([]element, error) {
	if g.flags != pageBranch && g.flags != pageLeaf {
		return nil, fmt.Errorf("page %d is of no known kind (%#x)", g.id, g.flags)
	}
	list := make([]element, 0, g.count)
	end := pageHeader + g.count*elementSize
	for i := range g.count {
		e, from, to, ok := g.element(i)
		if !ok || from != end {
			return nil, fmt.Errorf("entry %d of page %d is out of place", i, g.id)
		}
		list, end = append(list, e), to
	}
	return list, nil
}

// element reads entry i, and where its bytes begin and end within the page.
func (g *page) element(i int) (e element, from, to int, ok bool) {
	at := pageHeader + i*elementSize
	if at+elementSize > len(g.data) {
		return e, 0, 0, false
	}
	b := g.data[at:]
	var offset, keyLen, valueLen uint32
	if g.flags == pageLeaf {
		e.flags, offset, keyLen, valueLen = byteOrder.Uint32(b), byteOrder.Uint32(b[4:]), byteOrder.Uint32(b[8:]), byteOrder.Uint32(b[12:])
	} else {
		offset, keyLen, e.child = byteOrder.Uint32(b), byteOrder.Uint32(b[4:]), byteOrder.Uint64(b[8:])
	}
	start, limit := int64(at)+int64(offset), int64(len(g.data))
	if keyLen == 0 || e.flags > bucketElement || start+int64(keyLen)+int64(valueLen) > limit {
		return e, 0, 0, false
	}
	from, to = int(start), int(start)+int(keyLen)+int(valueLen)
	e.key = g.data[from : from+int(keyLen) : from+int(keyLen)]
	e.value = g.data[from+int(keyLen) : to : to]
	return e, from, to, true
}

// remains takes what it can from a leaf that is not as bbolt wrote it; whoever uses the entries must
// have another way to tell the true ones. of is how many there were, as far as the page says.
func (g *page) remains() (list []element, of int) {
	if len(g.data) < pageHeader+elementSize {
		return nil, 0
	}
	leaf := *g
	leaf.flags = pageLeaf
	of = g.count
	if first := int(byteOrder.Uint32(g.data[pageHeader+4:])); first > 0 && first%elementSize == 0 && first <= len(g.data)-pageHeader {
		if end := first / elementSize; leaf.continuous(end) > leaf.continuous(of) {
			of = end // the offset of the first entry knows the count too
		}
	}
	for i := range of {
		if e, _, _, ok := leaf.element(i); ok {
			list = append(list, e)
		}
	}
	return list, min(of, len(g.data)/elementSize)
}

// continuous counts the entries that lie where they should if there are n.
func (g *page) continuous(n int) (good int) {
	end := pageHeader + n*elementSize
	for i := range n {
		_, from, to, ok := g.element(i)
		if ok && from == end {
			good++
		}
		end = to
	}
	return good
}

// isBucket reports whether the value is a bucket.
func (e *element) isBucket() bool { return e.flags == bucketElement }

// inline returns the page inside the value of a bucket that is small enough to have none of its own.
func (e *element) inline() (*page, error) {
	if len(e.value) < 2*pageHeader {
		return nil, fmt.Errorf("bucket %q is cut short", e.key)
	}
	b := e.value[pageHeader:]
	g := &page{id: byteOrder.Uint64(b), flags: byteOrder.Uint16(b[8:]), count: int(byteOrder.Uint16(b[10:])), overflow: uint64(byteOrder.Uint32(b[12:])), data: b}
	if g.id != 0 || g.flags != pageLeaf || g.overflow != 0 {
		return g, fmt.Errorf("bucket %q has a damaged page inside", e.key)
	}
	return g, nil
}

// bucket reads the value of a bucket's element: root 0 means that the bucket is inline.
func (e *element) bucket() (root, sequence uint64, ok bool) {
	if !e.isBucket() || len(e.value) < 16 {
		return 0, 0, false
	}
	return byteOrder.Uint64(e.value), byteOrder.Uint64(e.value[8:]), true
}

// pageSet is a set of page numbers, one bit each: half a megabyte for a file of 16 GiB.
type pageSet []uint64

func newPageSet(pages uint64) pageSet { return make(pageSet, pages/64+1) }

func (s pageSet) has(id uint64) bool {
	return id/64 < uint64(len(s)) && s[id/64]&(1<<(id%64)) != 0
}

func (s pageSet) add(id uint64) {
	if id/64 < uint64(len(s)) {
		s[id/64] |= 1 << (id % 64)
	}
}

// addPage adds a page with its overflow.
func (s pageSet) addPage(g *page) {
	for id := g.id; id <= g.id+g.overflow; id++ {
		s.add(id)
	}
}

// free reads the list of free pages, and the pages that hold the list.
func (p *pageFile) free(m fileMeta) (free, list pageSet, err error) {
	free, list = newPageSet(m.pages), newPageSet(m.pages)
	if m.freelist == noFreelist {
		return nil, nil, errors.New("the list of free pages is not in the file")
	}
	g, err := p.read(m.freelist)
	if err != nil {
		return nil, nil, err
	}
	if g.flags != pageFreelist {
		return nil, nil, fmt.Errorf("page %d should be the list of free pages", m.freelist)
	}
	count, b := uint64(g.count), g.data[pageHeader:]
	if g.count == 0xFFFF {
		count, b = byteOrder.Uint64(b), b[8:]
	}
	if count > uint64(len(b)/8) {
		return nil, nil, errors.New("the list of free pages is cut short")
	}
	last := uint64(1)
	for i := range count {
		id := byteOrder.Uint64(b[i*8:])
		if id <= last || id >= m.pages {
			return nil, nil, fmt.Errorf("entry %d of the list of free pages is wrong", i)
		}
		free.add(id)
		last = id
	}
	list.addPage(g)
	return free, list, nil
}

// takeBack makes the file at path end with the commit before txid, for good when it returns: the head of
// txid gives way to one that leads where the other does. If txid is not the newest, nothing is changed.
func takeBack(path string, txid uint64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	file := &pageFile{f: f, pageSize: int64(os.Getpagesize())}
	file.readMetas()
	slot := int64(0)
	if file.metas[1].txid > file.metas[0].txid {
		slot = 1
	}
	older := file.metas[1-slot]
	switch {
	case file.metas[slot].txid != txid:
		return f.Sync() // it was taken back before, and the flush of that may have failed
	case !older.valid || older.txid == 0:
		return fmt.Errorf("%w: it has no commit before the last", wire.ErrDamaged)
	}
	head := make([]byte, pageHeader+metaSize)
	if _, err := f.ReadAt(head, (1-slot)*file.pageSize); err != nil {
		return err
	}
	byteOrder.PutUint64(head, uint64(slot))
	meta := head[pageHeader:]
	byteOrder.PutUint64(meta[48:], older.txid-1)
	sum := fnv.New64a()
	sum.Write(meta[:56])
	byteOrder.PutUint64(meta[56:], sum.Sum64())
	if _, err := f.WriteAt(head, slot*file.pageSize); err != nil {
		return err
	}
	return f.Sync()
}
