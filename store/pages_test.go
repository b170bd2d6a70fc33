package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// FuzzPages: the reader of pages is given whatever a disk may give.
func FuzzPages(f *testing.F) {
	whole := filepath.Join(f.TempDir(), stateFile)
	must(f, createFile(whole, func(db *bolt.DB) error { return initState(db, 7) }))
	body, err := os.ReadFile(whole)
	must(f, err)
	for _, at := range []int{0, 4096, 8192, 8200, 12288} {
		f.Add(at, []byte{0xff, 0, 1, 2})
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, at int, blow []byte) {
		damaged := bytes.Clone(body)
		if at < 0 || at > len(damaged) {
			return
		}
		copy(damaged[at:], blow)
		path := filepath.Join(dir, stateFile)
		must(t, os.WriteFile(path, damaged, 0o600))
		file, err := openPages(path)
		must(t, err)
		defer file.close()
		if m, ok := file.newest(); ok {
			w := treeWalk{file: file, meta: m, fault: func(error) {}, leaf: func(uint64, []string, []element) {}}
			w.walk()
		}
		for id := range file.pagesInFile() {
			if g, _ := file.read(id); g != nil {
				_, _ = g.elements()
				g.remains()
			}
		}
	})
}
