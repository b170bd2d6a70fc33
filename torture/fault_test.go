package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/sync/sandbox"
)

// faults are the errors of a disk. Each starts at some operation and lasts until the disk is healed.
var faults = []struct {
	name  string
	errno syscall.Errno
	once  bool // only one operation
	ops   map[Op]bool
}{
	{"no space", syscall.ENOSPC, false, map[Op]bool{OpWrite: true, OpSize: true, OpName: true}},
	{"read-only", syscall.EROFS, false, map[Op]bool{OpWrite: true, OpSize: true, OpName: true}},
	{"I/O error, once", syscall.EIO, true, map[Op]bool{OpWrite: true, OpSync: true, OpSize: true, OpName: true, OpFolder: true}},
	{"I/O errors", syscall.EIO, false, map[Op]bool{OpWrite: true, OpSync: true, OpSize: true, OpName: true, OpFolder: true}},
	{"fsync fails", syscall.EIO, false, map[Op]bool{OpSync: true, OpFolder: true}},
}

// TestDiskFaults makes the disk fail from the 1st operation on, then from the 2nd, and so on, and heals it.
// Meanwhile deliveries arrive, and in every second round a compaction is in progress. The agent must answer 200
// or 503 with Retry-After, recover without help, and lose nothing that it acknowledged.
func TestDiskFaults(t *testing.T) {
	p := planned(t, 2, 60)
	for i, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, product, p.seed+uint64(i))
			if err := h.up(NewDisk(4 << 30)); err != nil {
				t.Fatal(err)
			}
			if _, err := h.until("the agent", idle); err != nil {
				t.Fatal(err)
			}
			began, rounds, struck := time.Now(), 0, int64(0)
			for n := 1; n <= int(p.count) && time.Now().Before(p.until); n++ {
				hits, err := h.strike(fault.errno, fault.once, n, fault.ops)
				if err != nil {
					t.Fatalf("from operation %d on: %v", n, err)
				}
				if rounds++; hits > 0 {
					struck++
				}
			}
			if struck == 0 || !fault.once && h.answers[http.StatusServiceUnavailable] == 0 {
				t.Errorf("nothing was ever struck: %v", h.answers)
			}
			t.Logf("%d rounds, %d of them struck, in %s; answers by status %v; %d of %d compactions failed; 0 restarts",
				rounds, struck, time.Since(began).Round(time.Second), h.answers, h.refused, rounds/2)
		})
	}
}

// strike makes the disk fail from operation n on while a round is posted, heals it, and waits for recovery.
func (h *host) strike(errno syscall.Errno, once bool, n int, ops map[Op]bool) (hits int64, err error) {
	var hit atomic.Int64
	first := make(chan struct{})
	h.disk.Before(func(op Op, _ string, at int) syscall.Errno {
		if at < n || !ops[op] || once && hit.Load() > 0 {
			return 0
		}
		if hit.Add(1) == 1 {
			close(first)
		}
		return errno
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	posters, posted := h.posting(ctx, 5)
	compacted := make(chan error, 1)
	if n%2 == 0 { // its writes must be hit too
		go func() { _, err := h.command("db", "compact").CombinedOutput(); compacted <- err }()
	} else {
		compacted <- nil
	}
	select {
	case <-first:
		if !once {
			time.Sleep(200 * time.Millisecond) // give it time to take effect
		}
	case <-time.After(2 * time.Second): // there are fewer operations
	}
	h.disk.Before(nil)
	if err := posted(); err != nil {
		return hit.Load(), fmt.Errorf("%w: %v", err, h.answers)
	}
	if <-compacted != nil { // it failed, and must have changed nothing
		h.refused++
	}
	s, err := h.until("everything to be delivered", idle)
	if err != nil {
		return hit.Load(), err
	}
	return hit.Load(), h.compare(posters, s)
}

// TestFullDiskAtTheStart fills the disk at each operation of a start. With data the agent must start and answer
// 503 until there is space. Without data it may end with the reason, and must leave nothing that blocks the
// next start.
func TestFullDiskAtTheStart(t *testing.T) {
	const operations = 60 // of a first start
	for _, first := range []bool{true, false} {
		t.Run(map[bool]string{true: "the first", false: "a later one"}[first], func(t *testing.T) {
			p := planned(t, 3, operations)
			h := newHost(t, product, p.seed)
			ended, waited := 0, 0
			from := h.rnd.Perm(operations)[:p.count] // all of them in random order, or a few
			slices.Sort(from)
			for _, n := range from {
				if time.Now().After(p.until) {
					break
				}
				did, err := h.startWithoutRoom(n+1, first)
				if err != nil {
					t.Fatalf("from operation %d on: %v", n+1, err)
				}
				if did {
					ended++
				} else {
					waited++
				}
			}
			if !first && ended > 0 {
				t.Errorf("%d starts ended, although there is data", ended)
			}
			p.did(t, ended+waited)
			t.Logf("%d starts: %d ended saying why, %d went on once there was room", ended+waited, ended, waited)
		})
	}
}

func (h *host) startWithoutRoom(n int, first bool) (ended bool, err error) {
	if first || h.unmount == nil {
		h.down()
		h.posted = 0
		if err := h.up(NewDisk(4 << 30)); err != nil {
			return false, err
		}
		if !first {
			if _, err := h.until("the agent", idle); err != nil {
				return false, err
			}
		}
	}
	h.kill()
	disk := h.disk
	if first {
		h.down()
		disk = NewDisk(4 << 30)
	}
	disk.Before(func(op Op, _ string, at int) syscall.Errno {
		if at >= n && (op == OpWrite || op == OpSize || op == OpName) {
			return syscall.ENOSPC
		}
		return 0
	})
	if first {
		err = h.up(disk)
	} else {
		err = h.start()
	}
	if err != nil {
		return false, err
	}
	_, err = h.until("an answer", func(condition.Status) bool { return true })
	disk.Before(nil)
	if ended = h.ended(); ended {
		if !strings.Contains(h.log.String(), "there is no room to start") || strings.Contains(h.log.String(), "no such file") {
			return ended, fmt.Errorf("it does not say well why it ended:\n%s", h.log.String())
		}
		err = h.start()
	}
	if err != nil {
		return ended, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	posters, posted := h.posting(ctx, 2)
	if err := posted(); err != nil {
		return ended, err
	}
	s, err := h.until("everything to be delivered", idle)
	if err != nil {
		return ended, err
	}
	return ended, h.compare(posters, s)
}

// TestAFullDiskStillSettlesAndParks fills the disk up to its reserve during an outage of MoEngage. Events are
// refused. Pending changes must still be delivered, and changes that MoEngage refuses must still be parked.
func TestAFullDiskStillSettlesAndParks(t *testing.T) {
	p := planned(t, 1, 1)
	h := newHost(t, product, p.seed)
	disk := NewDisk(256 << 20)
	if err := h.up(disk); err != nil {
		t.Fatal(err)
	}
	if _, err := h.until("the agent", idle); err != nil {
		t.Fatal(err)
	}
	h.box.Fail(sandbox.Fault{Status: http.StatusServiceUnavailable})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	posters, posted := h.posting(ctx, 100)
	if err := posted(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.until("everything to be applied", func(s condition.Status) bool { return s.Unapplied == 0 && s.Pending > 0 }); err != nil {
		t.Fatal(err)
	}
	disk.Resize(disk.Used() + disk.Used()/8) // the reserve of a small disk is a quarter of it
	s, err := h.until("events to be refused", func(s condition.Status) bool { return !s.Ready })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("refused: %s", s.Unready)
	extra := posters[0]
	if code := h.postOnce(ctx, extra.next()); code != http.StatusServiceUnavailable {
		t.Errorf("a delivery was answered %d", code)
	}
	h.box.Heal()
	if s, err = h.until("pending changes are delivered", func(s condition.Status) bool { return s.Pending == 0 }); err != nil {
		t.Fatal(err)
	}
	if s.Ready || s.Delivered == 0 {
		t.Errorf("the disk is full, and the agent says %+v", s)
	}
	disk.Resize(256 << 20)
	if _, err := h.until("there to be room again", idle); err != nil {
		t.Fatal(err)
	}
	_, again := h.posting(ctx, 1)
	if err := again(); err != nil {
		t.Error(err)
	}
}

// TestSlowFsync makes every fsync take seconds. Deliveries take as long or are answered 503, and nothing is
// lost.
func TestSlowFsync(t *testing.T) {
	p := planned(t, 1, 5)
	for i := range p.count {
		h := newHost(t, product, p.seed+uint64(i))
		if err := h.up(NewDisk(4 << 30)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.until("the agent", idle); err != nil {
			t.Fatal(err)
		}
		pause := time.Second
		if p.count > 1 {
			pause *= time.Duration(1 + h.rnd.IntN(4))
		}
		h.disk.Before(func(op Op, _ string, _ int) syscall.Errno {
			if op == OpSync {
				time.Sleep(pause)
			}
			return 0
		})
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		posters, posted := h.posting(ctx, 2)
		err := posted()
		cancel()
		h.disk.Before(nil)
		s, waitErr := h.until("everything to be delivered", idle)
		if err = errors.Join(err, waitErr); err == nil {
			err = h.compare(posters, s)
		}
		if err != nil {
			t.Fatalf("fsync takes %s: %v", pause, err)
		}
		t.Logf("fsync takes %s: answers by status %v", pause, h.answers)
		h.down()
	}
}

// TestTheDiskForgets checks the simulated disk itself.
func TestTheDiskForgets(t *testing.T) {
	p := planned(t, 1, 1)
	d := NewDisk(1 << 20)
	f := &file{number: 1}
	for _, errno := range []syscall.Errno{
		d.rename(f, "a", ""), d.write(f, "a", []byte("synced"), 0), d.sync(f, "a"), d.syncFolder(),
		d.write(f, "a", []byte("SYNCED and more"), 0), d.rename(f, "b", "a"),
	} {
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	seen := map[string]int{}
	rnd := rand.New(rand.NewPCG(p.seed, 1))
	for range 200 {
		found := d.After(rnd)
		for name, f := range found.live {
			text := make([]byte, f.live.size)
			f.live.read(text, 0)
			seen[name+": "+strconv.Quote(string(text))]++
		}
	}
	for _, want := range []string{`a: "synced"`, `b: "synced"`, `a: "SYNCED and more"`, `b: "SYNCED and more"`} {
		if seen[want] == 0 {
			t.Errorf("never found %s: %v", want, seen)
		}
	}
	if len(seen) != 4 {
		t.Errorf("found %v", seen)
	}
}
