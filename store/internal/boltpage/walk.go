package boltpage

import (
	"bytes"
	"errors"
	"fmt"

	"personasync/store/internal/wire"
)

// A Walk visits the tree below one meta page and checks every rule that bbolt relies on. It continues past a
// fault as far as it can.
type Walk struct {
	File *File
	Meta Meta

	// Fault is called for each fault.
	Fault func(err error)

	// Leaf is called for each correct leaf. path names the bucket. The elements share memory with the page and
	// may be kept. An inline page has id 0.
	Leaf func(id uint64, path []string, elements []Element)

	// Bucket is called for each bucket, including inline ones. It may be nil.
	Bucket func(path []string, sequence uint64)

	// The results. Free has the free pages and is nil if the freelist is unreadable. Seen has the pages that
	// were read or belong to the structure. Unreachable counts the faults that hide a part of the tree.
	Free, Seen  Set
	Unreachable int
}

// maxDepth limits the depth of the tree. bbolt needs fewer than ten levels even for a full disk.
const maxDepth = 64

// Run visits the whole tree, then checks that each page of the file is either in use or free.
func (w *Walk) Run() {
	w.Seen = NewSet(w.Meta.Pages)
	w.Seen.Add(0)
	w.Seen.Add(1)
	free, list, err := w.File.free(w.Meta)
	if err != nil {
		w.Fault(err)
	}
	w.Free = free
	w.Visit(w.Meta.Root, nil, nil, nil, 0)
	if err != nil {
		return
	}
	for id := range w.Meta.Pages {
		reached := w.Seen.Has(id) || list.Has(id)
		if reached == free.Has(id) {
			w.Fault(fmt.Errorf("page %d is neither used nor free, or both", id))
		}
		if list.Has(id) { // the freelist's own pages are not orphans
			w.Seen.Add(id)
		}
	}
}

// unreachable reports a fault that hides a part of the tree.
func (w *Walk) unreachable(err error) {
	w.Unreachable++
	w.Fault(err)
}

// Visit visits page id and the pages below it. Its keys must lie in [low, high); nil means no bound.
func (w *Walk) Visit(id uint64, path []string, low, high []byte, depth int) {
	if id < 2 || id >= w.Meta.Pages || depth > maxDepth || w.Seen.Has(id) || w.Free != nil && w.Free.Has(id) {
		w.unreachable(fmt.Errorf("a pointer leads to page %d, which is out of range, free or already visited", id))
		return
	}
	g, err := w.File.Read(id)
	var list []Element
	if err == nil {
		list, err = g.Elements()
	}
	if err == nil {
		err = w.inOrder(g, list, low, high)
	}
	if err != nil {
		w.unreachable(err)
		return
	}
	w.Seen.AddPage(g)
	if g.IsLeaf() {
		w.Leaf(id, path, list)
		w.buckets(list, path, depth)
		return
	}
	for i := range list {
		below := high
		if i+1 < len(list) {
			below = list[i+1].Key
		}
		w.Visit(list[i].child, path, list[i].Key, below, depth+1)
	}
}

// inOrder checks that keys ascend and lie within the bounds given by the parent.
func (w *Walk) inOrder(g *Page, list []Element, low, high []byte) error {
	if len(list) == 0 && (g.flags == pageBranch || low != nil) {
		return fmt.Errorf("page %d is empty", g.id)
	}
	if low != nil && !bytes.Equal(list[0].Key, low) { // on a write, bbolt locates the child in its parent by this key
		return fmt.Errorf("page %d begins with another key than its parent has for it", g.id)
	}
	for i := range list {
		k := list[i].Key
		if i > 0 && bytes.Compare(k, list[i-1].Key) <= 0 || high != nil && bytes.Compare(k, high) >= 0 {
			return fmt.Errorf("the keys of page %d are out of order", g.id)
		}
	}
	return nil
}

// buckets descends into the buckets of a leaf.
func (w *Walk) buckets(list []Element, path []string, depth int) {
	for i := range list {
		e := &list[i]
		if !e.IsBucket() {
			continue
		}
		root, sequence, ok := e.Bucket()
		if !ok {
			w.unreachable(fmt.Errorf("bucket %q is cut short", e.Key))
			continue
		}
		below := append(path[:len(path):len(path)], string(e.Key))
		if w.Bucket != nil {
			w.Bucket(below, sequence)
		}
		if root != 0 {
			w.Visit(root, below, nil, nil, depth+1)
			continue
		}
		w.inline(e, below, depth)
	}
}

// inline visits a bucket whose page is in its value.
func (w *Walk) inline(e *Element, path []string, depth int) {
	g, err := e.Inline()
	var list []Element
	if err == nil {
		list, err = g.Elements()
	}
	if err == nil {
		err = w.inOrder(g, list, nil, nil)
	}
	if err != nil || depth > maxDepth {
		w.unreachable(fmt.Errorf("bucket %q: %w", e.Key, errors.Join(err, wire.ErrDamaged)))
		return
	}
	w.Leaf(0, path, list)
	w.buckets(list, path, depth+1)
}
