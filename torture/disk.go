// Package torture runs an agent on a disk that loses power, fails, fills up or is slow. It is a module of its
// own, so that its dependencies are not the product's.
//
// The disk is a file system in memory, mounted by FUSE in this process and used by an agent in another. It
// distinguishes the written data from the data left after a power failure:
//
//	a write      survives if its file was synced since; otherwise each of its sectors of 512 bytes may survive or not
//	a new size   likewise; a part that was lost reads as zeros
//	a failed     sync loses its data unless that is written again. The next sync succeeds without it, as with
//	             Linux's page cache
//	a name       (create, rename, link, unlink) survives if its directory was synced since; otherwise the names are
//	             those after any prefix of the later changes, as with a journal
//
// A disk may also hold one file that is the replica of a block device (NewVolume), for a file system of Linux on it.
package torture

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	sector   = 512
	pageSize = 4096
)

// Op is the kind of a disk operation.
type Op string

const (
	OpWrite  Op = "write"
	OpSize   Op = "truncate"
	OpName   Op = "create, rename, link or unlink"
	OpSync   Op = "fsync"
	OpFolder Op = "fsync of the folder"
)

// Disk is one flat directory of files. Its methods are safe for concurrent use. mu protects all fields.
type Disk struct {
	mu     sync.Mutex
	live   map[string]*file
	stable map[string]*file
	since  []map[string]*file // the names after each change that is not synced yet
	used   int64
	size   int64
	ops    int
	down   bool
	before func(op Op, name string, n int) syscall.Errno
}

// file is an inode.
type file struct {
	number       uint64
	live, stable content
	log          []change // changes missing in stable
	mode         uint32
	written      time.Time // time of the last write

	twin *file    // the half of a volume on the other host; nil for an ordinary file
	lag  int      // how many changes twin is behind: 0 is synchronous
	late []change // changes missing in twin
}

// change is a write, or a new size if it has no data.
type change struct {
	at   int64
	data []byte
}

// NewDisk returns an empty disk of size bytes.
func NewDisk(size int64) *Disk {
	return &Disk{live: map[string]*file{}, stable: map[string]*file{}, size: size}
}

// Before makes the disk call f before each change and sync, with n counting them from 1. A nonzero errno is
// returned instead of performing the operation. f may block. Nil removes f.
func (d *Disk) Before(f func(op Op, name string, n int) syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before, d.ops = f, 0
}

// Resize changes the size of the disk in bytes, even below the space in use.
func (d *Disk) Resize(size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size = size
}

// Used returns the number of bytes in use.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// Cut simulates a power failure: every later operation fails.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = true
}

// may reports whether an operation succeeds. The caller holds d.mu; it is released while the function of Before
// runs.
func (d *Disk) may(op Op, name string) syscall.Errno {
	if d.down {
		return syscall.EIO
	}
	d.ops++
	before, n := d.before, d.ops
	if before == nil {
		return 0
	}
	d.mu.Unlock()
	errno := before(op, name, n)
	d.mu.Lock()
	if d.down {
		return syscall.EIO
	}
	return errno
}

func (d *Disk) write(f *file, name string, data []byte, at int64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.may(OpWrite, name); errno != 0 {
		return errno
	}
	if more := f.live.missing(at, len(data)); more > 0 && d.used+more > d.size {
		return syscall.ENOSPC
	} else {
		d.used += more
	}
	f.put(change{at: at, data: append([]byte(nil), data...)})
	f.written = time.Now()
	return 0
}

func (d *Disk) truncate(f *file, name string, size int64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.may(OpSize, name); errno != 0 {
		return errno
	}
	before := f.live.bytes()
	f.put(change{at: size})
	d.used += f.live.bytes() - before
	return 0
}

func (d *Disk) read(f *file, into []byte, at int64) (int, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return 0, syscall.EIO
	}
	return f.live.read(into, at), 0
}

func (d *Disk) sync(f *file, name string) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(f.log) // excludes writes made while the sync is in progress
	errno := d.may(OpSync, name)
	n = min(n, len(f.log)) // another sync was faster
	if errno != 0 {
		f.log = slices.DeleteFunc(slices.Clone(f.log), func(c change) bool {
			n--
			return n >= 0 && c.data != nil
		})
		return errno
	}
	f.flush(n)
	return 0
}

// put makes a change, on the other half too.
func (f *file) put(c change) {
	f.live.apply(c)
	f.log = append(f.log, c)
	if f.twin == nil {
		return
	}
	for f.late = append(f.late, c); len(f.late) > f.lag; f.late = f.late[1:] {
		f.twin.put(f.late[0])
	}
}

// flush makes the first n changes of the log survive, on the other half too.
func (f *file) flush(n int) {
	n = min(n, len(f.log))
	for _, c := range f.log[:n] {
		f.stable.apply(c)
	}
	f.log = append([]change(nil), f.log[n:]...)
	if f.twin != nil {
		f.twin.flush(n)
	}
}

func (d *Disk) syncFolder() syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.may(OpFolder, ""); errno != 0 {
		return errno
	}
	d.stable, d.since = maps.Clone(d.live), nil
	return 0
}

// rename changes names: f gets name, unless that is "", and gone is removed, unless that is "".
func (d *Disk) rename(f *file, name, gone string) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.may(OpName, name+gone); errno != 0 {
		return errno
	}
	names := maps.Clone(d.live)
	if gone != "" {
		delete(names, gone)
	}
	if f != nil {
		names[name] = f
	}
	d.live = names
	d.since = append(d.since, names)
	d.used = 0
	for f := range d.files() {
		d.used += f.live.bytes()
	}
	return 0
}

func (d *Disk) files() map[*file]bool {
	all := map[*file]bool{}
	for _, f := range d.live {
		all[f] = true
	}
	return all
}

// After returns a possible state of the disk after the power failure.
func (d *Disk) After(rnd *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.stable
	if n := rnd.IntN(len(d.since) + 1); n > 0 {
		names = d.since[n-1]
	}
	found := NewDisk(d.size)
	arrived := [...]float64{0, 0.1, 0.5, 0.9, 1}[rnd.IntN(5)]
	copies := map[*file]*file{}
	for name, f := range names {
		if copies[f] == nil {
			copies[f] = f.after(rnd, arrived)
			found.used += copies[f].live.bytes()
		}
		found.live[name] = copies[f]
	}
	found.stable = maps.Clone(found.live)
	return found
}

func (f *file) after(rnd *rand.Rand, arrived float64) *file {
	left := f.stable.clone()
	for _, c := range f.log {
		if c.data == nil {
			if rnd.Float64() < arrived {
				left.apply(c)
			}
			continue
		}
		for from := 0; from < len(c.data); {
			to := min(len(c.data), from+sector-int(c.at+int64(from))%sector)
			if rnd.Float64() < arrived {
				left.apply(change{c.at + int64(from), c.data[from:to]})
			}
			from = to
		}
	}
	return &file{number: f.number, live: left, stable: left.clone(), mode: f.mode, written: f.written}
}

// volumeFile is the name of a volume's file.
const volumeFile = "volume"

// NewVolume returns a disk with one file of size bytes: a block device that is kept on two hosts. A write is answered
// once both halves have it, and a flush once both have everything before it on disk. The other half is lag changes
// behind: 0 is synchronous replication.
func NewVolume(size int64, lag int) *Disk {
	return volume(&file{live: content{size: size}, stable: content{size: size}}, size, lag)
}

// volume makes a volume of one half, and a copy of it on another host.
func volume(half *file, size int64, lag int) *Disk {
	d := NewDisk(2 * size)
	half.number, half.mode, half.lag = 1, 0o600, lag
	half.twin = &file{live: half.live.clone(), stable: half.stable.clone()}
	d.live[volumeFile], d.used = half, half.live.bytes()
	d.stable = maps.Clone(d.live)
	return d
}

// Survivor returns the volume that the other host assembles of its half alone after the loss of this one. dark says that
// its power failed as well.
func (d *Disk) Survivor(rnd *rand.Rand, dark bool) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.live[volumeFile]
	half := was.twin
	if dark {
		half = half.after(rnd, [...]float64{0, 0.1, 0.5, 0.9, 1}[rnd.IntN(5)])
	}
	half.stable, half.log = half.live.clone(), nil // it was read back, so it is what the disk holds
	return volume(half, was.live.size, was.lag)
}

// Reboot changes the boot id in the agent's shutdown marker, as if the machine had restarted.
func (d *Disk) Reboot() {
	f := d.live["running"]
	if f == nil {
		return
	}
	text := make([]byte, f.live.size)
	f.live.read(text, 0)
	if _, after, ok := strings.Cut(string(text), `"boot":"`); ok {
		at := int64(len(text) - len(after))
		for _, c := range []*content{&f.live, &f.stable} {
			c.apply(change{at, []byte("00000000")})
		}
	}
}

// content is a sparse sequence of bytes.
type content struct {
	size  int64
	pages map[int64]*[pageSize]byte
}

func (c *content) apply(w change) {
	if c.pages == nil {
		c.pages = map[int64]*[pageSize]byte{}
	}
	if w.data == nil {
		c.cut(w.at)
		return
	}
	c.size = max(c.size, w.at+int64(len(w.data)))
	for at, data := w.at, w.data; len(data) > 0; {
		p := c.pages[at/pageSize]
		if p == nil {
			p = new([pageSize]byte)
			c.pages[at/pageSize] = p
		}
		n := copy(p[at%pageSize:], data)
		at, data = at+int64(n), data[n:]
	}
}

func (c *content) cut(size int64) {
	for n, p := range c.pages {
		switch start := n * pageSize; {
		case start >= size:
			delete(c.pages, n)
		case start+pageSize > size:
			clear(p[size-start:])
		}
	}
	c.size = size
}

func (c *content) read(into []byte, at int64) int {
	n := int(min(int64(len(into)), max(0, c.size-at)))
	clear(into[:n])
	for done := 0; done < n; {
		within := (at + int64(done)) % pageSize
		step := min(n-done, int(pageSize-within))
		if p := c.pages[(at+int64(done))/pageSize]; p != nil {
			copy(into[done:done+step], p[within:])
		}
		done += step
	}
	return n
}

func (c *content) bytes() int64 { return int64(len(c.pages)) * pageSize }

// missing returns how many more bytes a write would occupy.
func (c *content) missing(at int64, n int) (bytes int64) {
	for p := at / pageSize; p*pageSize < at+int64(n); p++ {
		if c.pages[p] == nil {
			bytes += pageSize
		}
	}
	return bytes
}

func (c *content) clone() content {
	pages := make(map[int64]*[pageSize]byte, len(c.pages))
	for n, p := range c.pages {
		same := *p
		pages[n] = &same
	}
	return content{c.size, pages}
}
