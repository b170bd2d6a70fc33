package boltpage

import (
	"errors"
	"fmt"
)

// A Set is a bitmap of page numbers. It takes half a megabyte for a file of 16 GiB.
type Set []uint64

// NewSet returns an empty set for a file of that many pages.
func NewSet(pages uint64) Set { return make(Set, pages/64+1) }

// Has reports whether id is in the set. It is false for a number beyond the file.
func (s Set) Has(id uint64) bool {
	return id/64 < uint64(len(s)) && s[id/64]&(1<<(id%64)) != 0
}

// Add adds id. A number beyond the file is ignored.
func (s Set) Add(id uint64) {
	if id/64 < uint64(len(s)) {
		s[id/64] |= 1 << (id % 64)
	}
}

// AddPage adds a page and its overflow pages.
func (s Set) AddPage(g *Page) {
	for id := g.id; id <= g.id+g.overflow; id++ {
		s.Add(id)
	}
}

// free reads the freelist of a meta page. It returns the free pages, and the pages that the freelist occupies.
func (p *File) free(m Meta) (free, list Set, err error) {
	free, list = NewSet(m.Pages), NewSet(m.Pages)
	if m.Freelist == noFreelist {
		return nil, nil, errors.New("the freelist is not in the file")
	}
	g, err := p.Read(m.Freelist)
	if err != nil {
		return nil, nil, err
	}
	if g.flags != pageFreelist {
		return nil, nil, fmt.Errorf("page %d should be the freelist", m.Freelist)
	}
	count, b := uint64(g.count), g.data[pageHeader:]
	if g.count == 0xFFFF {
		count, b = byteOrder.Uint64(b), b[8:]
	}
	if count > uint64(len(b)/8) {
		return nil, nil, errors.New("the freelist is cut short")
	}
	last := uint64(1)
	for i := range count {
		id := byteOrder.Uint64(b[i*8:])
		if id <= last || id >= m.Pages {
			return nil, nil, fmt.Errorf("entry %d of the freelist is wrong", i)
		}
		free.Add(id)
		last = id
	}
	list.AddPage(g)
	return free, list, nil
}
