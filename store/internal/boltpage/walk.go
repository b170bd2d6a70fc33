package boltpage

import (
	"bytes"
	"errors"
	"fmt"

	"personasync/store/internal/wire"
)

// A Walk visits the tree that one meta page leads to, and checks every rule that bbolt relies on. It goes on
// behind a fault as far as it can.
type Walk struct {
	File *File
	Meta Meta

	// Fault is called for everything that is wrong.
	Fault func(err error)

	// Leaf is called for every leaf that is as it should be. Its path names the bucket. The elements share
	// memory with the page and may be kept. An inline page has id 0.
	Leaf func(id uint64, path []string, elements []Element)

	// Bucket is called for every bucket, inline ones included. It may be nil.
	Bucket func(path []string, sequence uint64)

	// The results: the free pages, nil if the freelist is unreadable; the pages that were read or need not
	// be; and how many faults have a part of the tree behind them that was not reached.
	Free, Seen  Set
	Unreachable int
}

// maxDepth bounds pages below each other. bbolt needs fewer than ten, even for a full disk.
const maxDepth = 64

// Run visits the whole tree, and then checks that each page of the file is either in use or free.
func (w *Walk) Run() {
	w.Seen = NewSet(w.Meta.Pages)
	w.Seen.Add(0)
	w.Seen.Add(1)
	free, list, err := w.File.Free(w.Meta)
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
		if list.Has(id) { // it is no orphan
			w.Seen.Add(id)
		}
	}
}

// unreachable reports a fault behind which a part of the tree is out of reach.
func (w *Walk) unreachable(err error) {
	w.Unreachable++
	w.Fault(err)
}

// Visit visits page id and what is below. Its keys belong to [low, high); nil is no bound.
func (w *Walk) Visit(id uint64, path []string, low, high []byte, depth int) {
	if id < 2 || id >= w.Meta.Pages || depth > maxDepth || w.Seen.Has(id) || w.Free != nil && w.Free.Has(id) {
		w.unreachable(fmt.Errorf("a pointer leads to page %d, which cannot be", id))
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

// inOrder checks that keys grow, and that they lie within the bounds that the parent gave.
func (w *Walk) inOrder(g *Page, list []Element, low, high []byte) error {
	if len(list) == 0 && (g.flags == pageBranch || low != nil) {
		return fmt.Errorf("page %d leads nowhere", g.id)
	}
	if low != nil && !bytes.Equal(list[0].Key, low) { // bbolt finds a child's place in its parent by that key when it writes it
		return fmt.Errorf("page %d begins with another key than its parent says", g.id)
	}
	for i := range list {
		k := list[i].Key
		if i > 0 && bytes.Compare(k, list[i-1].Key) <= 0 || high != nil && bytes.Compare(k, high) >= 0 {
			return fmt.Errorf("the keys of page %d are out of order", g.id)
		}
	}
	return nil
}

// buckets goes down into the buckets of a leaf.
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

// inline visits a bucket whose page lies in its value.
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
