package boltpage

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"personasync/store/internal/wire"
)

// A File is a bbolt file opened for reading page by page.
type File struct {
	f        *os.File
	Size     int64 // when it was opened
	PageSize int64
	metas    [2]Meta
}

// Meta is one of the two meta pages of a file. Commits alternate between them.
type Meta struct {
	Valid    bool // checksum and position are correct
	Root     uint64
	Freelist uint64
	Pages    uint64 // one more than the last page in use
	Txid     uint64
}

// Open opens the file at path. A file without a readable meta page is not an error: its other pages may be
// readable.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	p := &File{f: f, Size: info.Size(), PageSize: int64(os.Getpagesize())}
	p.readMetas()
	return p, nil
}

// Close closes the file. Pages already read stay valid.
func (p *File) Close() { p.f.Close() }

// readMetas finds the page size and reads both meta pages.
func (p *File) readMetas() {
	buf := make([]byte, pageHeader+metaSize)
	for at := int64(0); at <= 16<<20; at = max(1024, at*2) { // the second meta page lies one page behind the first
		if size := p.metaAt(at, buf, &Meta{}); size != 0 {
			p.PageSize = size
			break
		}
	}
	for i := range p.metas {
		p.metaAt(int64(i)*p.PageSize, buf, &p.metas[i])
	}
}

// metaAt reads a meta page and returns its page size. It returns 0 if the page is invalid or unreadable.
func (p *File) metaAt(at int64, buf []byte, m *Meta) (pageSize int64) {
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
	*m = Meta{
		Valid: byteOrder.Uint16(buf[8:]) == pageMeta && byteOrder.Uint64(buf) == uint64(at/size),
		Root:  byteOrder.Uint64(b[16:]), Freelist: byteOrder.Uint64(b[32:]),
		Pages: byteOrder.Uint64(b[40:]), Txid: byteOrder.Uint64(b[48:]),
	}
	return size
}

// Newest returns the readable meta page with the highest transaction id.
func (p *File) Newest() (m Meta, ok bool) {
	for _, c := range p.metas {
		if c.Valid && (!m.Valid || c.Txid > m.Txid) {
			m = c
		}
	}
	return m, m.Valid
}

// Metas returns both meta pages, the newer first, valid or not.
func (p *File) Metas() (newer, older Meta) {
	if p.metas[1].Txid > p.metas[0].Txid {
		return p.metas[1], p.metas[0]
	}
	return p.metas[0], p.metas[1]
}

// Pages returns the number of whole pages in the file.
func (p *File) Pages() uint64 { return uint64(p.Size / p.PageSize) }

// Glance checks the meta pages and the freelist of the file at path, which costs three reads. bbolt would fail on a
// corrupt freelist while it holds the file. The errors name the file.
func Glance(path string) error {
	p, err := Open(path)
	if err != nil {
		return err
	}
	defer p.Close()
	err = p.Glance()
	if err == nil {
		m, _ := p.Newest()
		_, _, err = p.free(m)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// Glance makes the checks that cost two reads: both meta pages are valid, and the file is not cut off. bbolt
// itself silently falls back to the other meta page if one is unreadable, and so loses the last commit.
func (p *File) Glance() error {
	m, ok := p.Newest()
	switch {
	case !ok:
		return errors.New("neither meta page of the file is readable")
	case !p.metas[0].Valid || !p.metas[1].Valid:
		return errors.New("one of the two meta pages of the file is unreadable")
	case m.Pages > p.Pages():
		return fmt.Errorf("the file was cut off: %d of its %d pages are there", p.Pages(), m.Pages)
	}
	return nil
}

// RollBack removes the last commit, txid, from the file at path. It overwrites the meta page of txid with a
// copy of the other one. The change is durable when it returns. If txid is not the newest commit, nothing
// changes.
func RollBack(path string, txid uint64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	file := &File{f: f, PageSize: int64(os.Getpagesize())}
	file.readMetas()
	slot := int64(0)
	if file.metas[1].Txid > file.metas[0].Txid {
		slot = 1
	}
	older := file.metas[1-slot]
	switch {
	case file.metas[slot].Txid != txid:
		return f.Sync() // already rolled back, but the sync may have failed
	case !older.Valid || older.Txid == 0:
		return fmt.Errorf("%w: it has no commit before the last", wire.ErrDamaged)
	}
	head := make([]byte, pageHeader+metaSize)
	if _, err := f.ReadAt(head, (1-slot)*file.PageSize); err != nil {
		return err
	}
	byteOrder.PutUint64(head, uint64(slot))
	meta := head[pageHeader:]
	byteOrder.PutUint64(meta[48:], older.Txid-1)
	sum := fnv.New64a()
	sum.Write(meta[:56])
	byteOrder.PutUint64(meta[56:], sum.Sum64())
	if _, err := f.WriteAt(head, slot*file.PageSize); err != nil {
		return err
	}
	return f.Sync()
}
