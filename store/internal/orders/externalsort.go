package orders

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
)

// An externalSort puts the users of a list into the order of the rows, so that the two can be walked side by side, in
// memory that does not grow with the list: when the arena is full it is sorted and written to a file of its own, and the
// files are merged. They have no name while they are written, so that no crash leaves one behind.
//
//	run: ( length uvarint, userKey )*, ascending
type externalSort struct {
	dir   string
	arena []byte
	at    []uint32 // where each key begins: its length in two bytes, and the key
	runs  []*os.File
	size  int   // of the arena, at most
	count int64 // users added
}

// externalSortBytes is the arena: 64 MB of ids and their offsets make some 80 MB resident.
const externalSortBytes = 32 << 20

func newExternalSort(dir string) *externalSort {
	return &externalSort{dir: dir, size: externalSortBytes}
}

// add takes in a user, in any order and any number of times.
func (s *externalSort) add(user string) error {
	if user == "" || len(user) > domain.MaxUserID {
		return fmt.Errorf("an id has 1 to %d bytes, and the list has one of %d", domain.MaxUserID, len(user))
	}
	if len(s.arena)+domain.MaxUserID+16 > s.size {
		if err := s.spill(); err != nil {
			return err
		}
	}
	if room := len(s.arena) + domain.MaxUserID + 16; room > cap(s.arena) { // a short list takes little memory
		s.arena = append(make([]byte, 0, min(max(4*cap(s.arena), 64<<10), s.size)), s.arena...)
	}
	s.count++
	key := state.UserKey(user)
	s.at = append(s.at, uint32(len(s.arena)))
	s.arena = append(binary.BigEndian.AppendUint16(s.arena, uint16(len(key))), key...)
	return nil
}

func (s *externalSort) key(at uint32) []byte {
	n := uint32(binary.BigEndian.Uint16(s.arena[at:]))
	return s.arena[at+2 : at+2+n]
}

func (s *externalSort) sort() {
	slices.SortFunc(s.at, func(x, y uint32) int { return bytes.Compare(s.key(x), s.key(y)) })
}

// spill writes the arena to a run.
func (s *externalSort) spill() error {
	s.sort()
	f, err := os.CreateTemp(s.dir, "import-*.tmp")
	if err != nil {
		return fmt.Errorf("sort the list: %w", datadir.Translate(err))
	}
	s.runs = append(s.runs, f)
	os.Remove(f.Name())
	w := bufio.NewWriterSize(f, 256<<10)
	for _, at := range s.at {
		key := s.key(at)
		w.Write(binary.AppendUvarint(w.AvailableBuffer(), uint64(len(key))))
		w.Write(key)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort the list: %w", datadir.Translate(err))
	}
	s.arena, s.at = s.arena[:0], s.at[:0]
	return nil
}

func (s *externalSort) close() {
	for _, f := range s.runs {
		f.Close()
	}
}

// sorted walks the user keys, each as often as it was added. A key is valid until the next. It may be walked again.
func (s *externalSort) sorted() iter.Seq2[[]byte, error] {
	s.sort()
	return func(yield func([]byte, error) bool) {
		m := merge{&memoryRun{r: s}}
		for _, f := range s.runs {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				yield(nil, fmt.Errorf("read the sorted list: %w", err))
				return
			}
			m = append(m, &fileRun{r: bufio.NewReaderSize(f, 64<<10)})
		}
		for i := len(m) - 1; i >= 0; i-- {
			if !m[i].next() {
				m = slices.Delete(m, i, i+1)
			}
		}
		heap.Init(&m)
		for len(m) > 0 {
			if err := m[0].failed(); err != nil {
				yield(nil, fmt.Errorf("read the sorted list: %w", err))
				return
			}
			if !yield(m[0].head(), nil) {
				return
			}
			if m[0].next() {
				heap.Fix(&m, 0)
			} else {
				heap.Pop(&m)
			}
		}
	}
}

// run is a sorted part of the list. next reports whether there is another key, or a failure to tell.
type run interface {
	next() bool
	head() []byte
	failed() error
}

type memoryRun struct {
	r *externalSort
	n int
}

func (m *memoryRun) next() bool    { m.n++; return m.n <= len(m.r.at) }
func (m *memoryRun) head() []byte  { return m.r.key(m.r.at[m.n-1]) }
func (m *memoryRun) failed() error { return nil }

type fileRun struct {
	r   *bufio.Reader
	key []byte
	err error
}

func (f *fileRun) next() bool {
	n, err := binary.ReadUvarint(f.r)
	if errors.Is(err, io.EOF) {
		return false
	}
	if err == nil {
		f.key = slices.Grow(f.key[:0], int(n))[:n]
		_, err = io.ReadFull(f.r, f.key)
	}
	f.err = err
	return true
}

func (f *fileRun) head() []byte  { return f.key }
func (f *fileRun) failed() error { return f.err }

// merge is a heap of runs, the least key on top; a failure is less than any.
type merge []run

func (m merge) Len() int { return len(m) }
func (m merge) Less(i, j int) bool {
	if m[i].failed() != nil || m[j].failed() != nil {
		return m[i].failed() != nil
	}
	return bytes.Compare(m[i].head(), m[j].head()) < 0
}
func (m merge) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(x any)   { *m = append(*m, x.(run)) }
func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
