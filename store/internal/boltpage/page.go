package boltpage

import (
	"encoding/binary"
	"fmt"
)

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

	// maxPageBytes limits one page with its overflow. The largest value is a webhook body of a few MiB. The
	// largest freelist has 8 bytes for each page of a 128 GiB file.
	maxPageBytes = 256 << 20
)

var byteOrder = binary.NativeEndian

// A Page is one page with its overflow.
type Page struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64
	data     []byte // including the header
}

// Read reads page id. With an error it also returns the readable part, or nil.
func (p *File) Read(id uint64) (*Page, error) {
	if id >= p.Pages() {
		return nil, fmt.Errorf("page %d is behind the end of the file", id)
	}
	data := make([]byte, p.PageSize)
	if _, err := p.f.ReadAt(data, int64(id)*p.PageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	g := &Page{id: byteOrder.Uint64(data), flags: byteOrder.Uint16(data[8:]), count: int(byteOrder.Uint16(data[10:])), overflow: uint64(byteOrder.Uint32(data[12:])), data: data}
	if g.id != id {
		return g, fmt.Errorf("page %d says it is page %d", id, g.id)
	}
	if g.overflow == 0 {
		return g, nil
	}
	length := int64(g.overflow+1) * p.PageSize
	if id+g.overflow >= p.Pages() || length > maxPageBytes {
		return g, fmt.Errorf("page %d says it is %d pages long", id, g.overflow+1)
	}
	whole := make([]byte, length)
	if _, err := p.f.ReadAt(whole, int64(id)*p.PageSize); err != nil {
		return g, fmt.Errorf("read page %d: %w", id, err)
	}
	g.data = whole
	return g, nil
}

// IsLeaf reports whether the page has keys and values.
func (g *Page) IsLeaf() bool { return g.flags == pageLeaf }

// IsStructure reports whether the page is a branch, freelist or meta page, which have no values.
func (g *Page) IsStructure() bool {
	return g.flags == pageBranch || g.flags == pageFreelist || g.flags == pageMeta
}

// An Element is one entry of a page.
type Element struct {
	flags      uint32 // leaf
	child      uint64 // branch
	Key, Value []byte
}

// Elements returns the entries of a page. It fails unless the layout is exactly what bbolt writes. The entries
// share memory with the page.
func (g *Page) Elements() ([]Element, error) {
	if g.flags != pageBranch && g.flags != pageLeaf {
		return nil, fmt.Errorf("page %d is of no known kind (flags %#x)", g.id, g.flags)
	}
	list := make([]Element, 0, g.count)
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

// element returns entry i, and the range of its bytes within the page.
func (g *Page) element(i int) (e Element, from, to int, ok bool) {
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
	e.Key = g.data[from : from+int(keyLen) : from+int(keyLen)]
	e.Value = g.data[from+int(keyLen) : to : to]
	return e, from, to, true
}

// Remains returns the readable entries of a leaf whose layout is not what bbolt writes. Some may be corrupt:
// the caller must be able to tell. of is the number of entries that the page claims to have.
func (g *Page) Remains() (list []Element, of int) {
	if len(g.data) < pageHeader+elementSize {
		return nil, 0
	}
	leaf := *g
	leaf.flags = pageLeaf
	of = g.count
	if first := int(byteOrder.Uint32(g.data[pageHeader+4:])); first > 0 && first%elementSize == 0 && first <= len(g.data)-pageHeader {
		if end := first / elementSize; leaf.continuous(end) > leaf.continuous(of) {
			of = end // the offset of the first entry implies the count
		}
	}
	for i := range of {
		if e, _, _, ok := leaf.element(i); ok {
			list = append(list, e)
		}
	}
	return list, min(of, len(g.data)/elementSize)
}

// continuous counts the entries that are where they should be if the page has n.
func (g *Page) continuous(n int) (good int) {
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

// IsBucket reports whether the value is a bucket.
func (e *Element) IsBucket() bool { return e.flags == bucketElement }

// Inline returns the page stored in the value of a bucket that is too small for a page of its own.
func (e *Element) Inline() (*Page, error) {
	if len(e.Value) < 2*pageHeader {
		return nil, fmt.Errorf("bucket %q is cut short", e.Key)
	}
	b := e.Value[pageHeader:]
	g := &Page{id: byteOrder.Uint64(b), flags: byteOrder.Uint16(b[8:]), count: int(byteOrder.Uint16(b[10:])), overflow: uint64(byteOrder.Uint32(b[12:])), data: b}
	if g.id != 0 || g.flags != pageLeaf || g.overflow != 0 {
		return g, fmt.Errorf("bucket %q has a damaged page inside", e.Key)
	}
	return g, nil
}

// Bucket decodes the value of a bucket's element. Root 0 means that the bucket is inline.
func (e *Element) Bucket() (root, sequence uint64, ok bool) {
	if !e.IsBucket() || len(e.Value) < 16 {
		return 0, 0, false
	}
	return byteOrder.Uint64(e.Value), byteOrder.Uint64(e.Value[8:]), true
}
