package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/wal"
)

// TestRecordsThatDamageHidesEndTheWriter: the tree of the inbox no longer led to a record that it had. The agent answered 200
// and logged, each second and for as long as it ran, that the records were not in the inbox. It ends, and the next start
// saves them.
func TestRecordsThatDamageHidesEndTheWriter(t *testing.T) {
	onFiles(t)
	const users = 8
	chunk := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for name, tc := range map[string]struct {
		of     []byte // what is hit
		at     int
		flip   byte
		quiet  bool // damage that shows without a delivery
		behind bool // records are not applied yet
		lost   uint64
	}{
		"the number of a record that is applied": {of: chunk(users - 2), at: 5, flip: 1},
		"the number of one that is not":          {of: chunk(users + 2), at: 5, flip: 1, quiet: true, behind: true},
		"its length":                             {of: chunk(users + 2), at: 8, flip: 0x40, quiet: true, behind: true, lost: 1},
		"the last number that was given":         {of: []byte("records"), at: 7 + 8 + 1, flip: 1, quiet: true, lost: 256}, // as if the records had been
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			want := []string{}
			receive := func(i int) *domain.Event {
				want = append(want, fmt.Sprintf("user-%02d", i))
				return event(want[i], "vip", true, 1)
			}
			for i := range users {
				b.receive(receive(i))
			}
			epoch := b.inbox.Epoch()
			must(t, b.Store.Close())
			b.Store = nil
			if tc.behind {
				appendFrom(t, b.dir, epoch, 0, receive(users), receive(users+1))
			}
			flip(t, wal.Path(b.dir, 1), tc.of, tc.at, tc.flip)

			if tc.quiet {
				b.openBroken()
			} else {
				b.openBroken(receive(len(want)))
			}
			b.reopen(rules(domain.SendAttribute))
			b.receive(receive(len(want)))
			if tc.behind && tc.lost > 0 {
				want = slices.Delete(want, users, users+1)
			}
			b.wantMembers("vip", want...)
			if c := b.balance(); c.Events.Lost != tc.lost {
				t.Errorf("%d records are lost, want %d", c.Events.Lost, tc.lost)
			}
			if list, err := b.Salvages(); err != nil || len(list) != 1 {
				t.Errorf("salvaged: %+v, %v", list, err)
			}
		})
	}
}

// flip changes the byte at, counted from each place where a leaf of the file has text. A freelist may have the same bytes.
func flip(t *testing.T, path string, text []byte, at int, mask byte) {
	t.Helper()
	file, err := boltpage.Open(path)
	must(t, err)
	defer file.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	found := 0
	for id := range file.Pages() {
		if g, err := file.Read(id); err != nil || !g.IsLeaf() {
			continue
		}
		page := make([]byte, file.PageSize)
		start := int64(id) * file.PageSize
		_, err := f.ReadAt(page, start)
		must(t, err)
		for i := 0; ; i++ {
			next := bytes.Index(page[i:], text)
			if next < 0 {
				break
			}
			i += next
			_, err := f.WriteAt([]byte{page[i+at] ^ mask}, start+int64(i+at))
			must(t, err)
			found++
		}
	}
	if found == 0 {
		t.Fatalf("%x is not in %s", text, path)
	}
}
