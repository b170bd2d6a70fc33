package store

import (
	"bytes"
	"errors"
	"fmt"

	"personasync/store/internal/wire"
)

// A treeWalk visits the tree of one head and holds it against every rule that bbolt relies on. It goes
// on behind a fault as far as it can.
type treeWalk struct {
	file  *pageFile
	meta  fileMeta
	free  pageSet // nil when the list is unreadable
	seen  pageSet
	fault func(err error)

	// leaf is called for every leaf that is as it should be; path names its bucket. The elements
	// share memory with the page and may be kept.
	leaf func(id uint64, path []string, elements []element)

	torn int // faults in the tree itself

	// bucket is called for every bucket, inline ones included.
	bucket func(path []string, sequence uint64)
}

const maxDepth = 64

func (w *treeWalk) walk() {
	w.seen = newPageSet(w.meta.pages)
	w.seen.add(0)
	w.seen.add(1)
	free, list, err := w.file.free(w.meta)
	if err != nil {
		w.fault(err)
	}
	w.free = free
	w.visit(w.meta.root, nil, nil, nil, 0)
	if err != nil {
		return
	}
	for id := range w.meta.pages {
		reached := w.seen.has(id) || list.has(id)
		if reached == free.has(id) {
			w.fault(fmt.Errorf("page %d is neither used nor free, or both", id))
		}
		if list.has(id) { // nobody need look at it again
			w.seen.add(id)
		}
	}
}

// tear reports a fault behind which a part of the tree is out of reach.
func (w *treeWalk) tear(err error) {
	w.torn++
	w.fault(err)
}

// visit looks at page id, whose keys belong to [low, high); nil is no bound.
func (w *treeWalk) visit(id uint64, path []string, low, high []byte, depth int) {
	if id < 2 || id >= w.meta.pages || depth > maxDepth || w.seen.has(id) || w.free != nil && w.free.has(id) {
		w.tear(fmt.Errorf("a pointer leads to page %d, which cannot be", id))
		return
	}
	g, err := w.file.read(id)
	var list []element
	if err == nil {
		list, err = g.elements()
	}
	if err == nil {
		err = w.inOrder(g, list, low, high)
	}
	if err != nil {
		w.tear(err)
		return
	}
	w.seen.addPage(g)
	if g.isLeaf() {
		w.leaf(id, path, list)
		w.buckets(list, path, depth)
		return
	}
	for i := range list {
		below := high
		if i+1 < len(list) {
			below = list[i+1].key
		}
		w.visit(list[i].child, path, list[i].key, below, depth+1)
	}
}

func (w *treeWalk) inOrder(g *page, list []element, low, high []byte) error {
	if len(list) == 0 && (g.flags == pageBranch || low != nil) {
		return fmt.Errorf("page %d leads nowhere", g.id)
	}
	if low != nil && !bytes.Equal(list[0].key, low) { // bbolt finds a child's place in its parent by that key when it writes it
		return fmt.Errorf("page %d begins with another key than its parent says", g.id)
	}
	for i := range list {
		k := list[i].key
		if i > 0 && bytes.Compare(k, list[i-1].key) <= 0 || high != nil && bytes.Compare(k, high) >= 0 {
			return fmt.Errorf("the keys of page %d are out of order", g.id)
		}
	}
	return nil
}

// buckets goes down into the buckets of a leaf.
func (w *treeWalk) buckets(list []element, path []string, depth int) {
	for i := range list {
		e := &list[i]
		if !e.isBucket() {
			continue
		}
		root, sequence, ok := e.bucket()
		if !ok {
			w.tear(fmt.Errorf("bucket %q is cut short", e.key))
			continue
		}
		below := append(path[:len(path):len(path)], string(e.key))
		if w.bucket != nil {
			w.bucket(below, sequence)
		}
		if root != 0 {
			w.visit(root, below, nil, nil, depth+1)
			continue
		}
		w.inline(e, below, depth)
	}
}

func (w *treeWalk) inline(e *element, path []string, depth int) {
	g, err := e.inline()
	var list []element
	if err == nil {
		list, err = g.elements()
	}
	if err == nil {
		err = w.inOrder(g, list, nil, nil)
	}
	if err != nil || depth > maxDepth {
		w.tear(fmt.Errorf("bucket %q: %w", e.key, errors.Join(err, wire.ErrDamaged)))
		return
	}
	w.leaf(0, path, list)
	w.buckets(list, path, depth+1)
}
