package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// large is an event that is parked, or ignored, with n bytes.
func large(user string, n int, parked bool) *domain.Event {
	e := event(user, "vip", true, 1, func(e *domain.Event) { e.Raw = bytes.Repeat([]byte("x"), n) })
	if e.Class = domain.ClassNone; parked {
		e.Fault, e.Sentence = "undetermined", "no flag"
	}
	return e
}

// TestAboveTheLimitEventsAreRefusedAndBookkeepingGoesOn fills a store to its limit with parked events,
// and has it recover by what an operator, or retention, does about them.
func TestAboveTheLimitEventsAreRefusedAndBookkeepingGoesOn(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := &bench{TB: t, dir: t.TempDir()}
	var err error
	b.Store, err = Open(b.dir, Options{Log: query.Discard, MaxDataBytes: 16 << 20, Parked: time.Hour})
	must(t, err)
	t.Cleanup(func() { b.Store.Close() })
	must(t, b.SetRules(context.Background(), rules(domain.SendBoth)))
	b.receive(event("ann", "vip", true, 1))
	for n := 0; b.disk.budget.Refusal() == nil; n++ {
		if n > 100 {
			t.Fatalf("%+v, and no end to it", b.Space())
		}
		err := b.Append(context.Background(), large("bob", 200<<10, true))
		if err != nil && !errors.Is(err, domain.ErrFull) {
			t.Fatal(err)
		}
		must(t, b.Applied(context.Background())) // records that are not applied yet count too, and not for long
		b.disk.update()
	}
	err = b.Append(context.Background(), event("cid", "vip", true, 1))
	if full := (*datadir.FullError)(nil); !errors.Is(err, domain.ErrFull) || !errors.As(err, &full) || !strings.Contains(err.Error(), "16.0 MiB") {
		t.Errorf("append at the limit: %v", err)
	}
	r := rules(domain.SendBoth)
	r.Defaults.EnterEvent = "Renamed"
	must(t, b.SetRules(context.Background(), r))
	b.drain()
	b.wantSaid("ann.vip=true ann!Audience Entered")

	_, err = b.Prune(context.Background(), noon.Add(time.Hour)) // says what will expire
	must(t, err)
	for more := true; more; {
		more, err = b.Prune(context.Background(), noon.Add(2*time.Hour))
		must(t, err)
	}
	b.disk.update()
	if b.disk.budget.Refusal() == nil {
		t.Fatal("freed pages were not given back yet, and counted as if they were")
	}
	_, did, err := b.CompactIfSparse(context.Background())
	must(t, err)
	b.disk.update()
	if b.disk.budget.Refusal() != nil || !did {
		t.Fatalf("compacted %v, and still no room: %v", did, b.disk.budget.Refusal())
	}
	b.receive(event("cid", "vip", true, 1))
	b.drain()
	b.wantSaid("cid.vip=true cid!Renamed")
	b.balance()
	soundness(t, b)
}

// TestReceivedEventsGiveWayBeforeEventsAreRefused sends more through a store than it may hold: what is
// applied goes before its retention is over.
func TestReceivedEventsGiveWayBeforeEventsAreRefused(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := &bench{TB: t, dir: t.TempDir()}
	var err error
	b.Store, err = Open(b.dir, Options{Log: query.Discard, MaxDataBytes: 64 << 20, ReceivedFor: time.Hour})
	must(t, err)
	t.Cleanup(func() { b.Store.Close() })
	for range 80 {
		b.receive(large("bob", 1<<20, false))
		b.disk.update()
		if err := b.disk.budget.Refusal(); err != nil {
			t.Fatal(err)
		}
	}
	if s := b.Space(); s.DataBytes > s.MaxDataBytes {
		t.Errorf("%+v", s)
	}
}

// TestADiskThatTheNewestInboxFileFillsRecoversByItself: that file was never removed, however much of it was
// applied.
func TestADiskThatTheNewestInboxFileFillsRecoversByItself(t *testing.T) {
	onFiles(t)
	t.Parallel()
	disk := tinyDisk(t, "128m")
	b := &bench{TB: t, dir: filepath.Join(disk, "data")}
	b.reopen(rules(domain.SendBoth))
	t.Cleanup(func() { b.Store.Close() })
	for range 40 {
		b.receive(large("bob", 1<<20, false))
	}
	b.disk.pinned.Store(true) // else the store makes room while the disk is filled, and that is filled, too
	fillDisk(t, disk)
	must(t, os.Truncate(filepath.Join(disk, "ballast"), boltfile.OnDiskAt(filepath.Join(disk, "ballast"))-(1<<20)))
	b.disk.pinned.Store(false)
	b.disk.update()
	for range 6000 { // the store looks around, too, and one that finds the room already made does not see it
		if b.disk.budget.Refusal() == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
		b.disk.update()
	}
	must(t, b.disk.budget.Refusal())
	if b.inbox.Oldest() == 1 {
		t.Errorf("%+v", b.Space())
	}
	b.receive(event("ann", "vip", true, 1))
	b.drain()
	b.wantSaid("ann.vip=true ann!Audience Entered")
	soundness(t, b)
}

// tinyDisk mounts a file system of its own. Only root may.
func tinyDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT TESTED: a disk that is really full. Mounting one takes root: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	return dir
}

// fortyOn is a store on a disk, in which forty users have entered.
func fortyOn(t *testing.T, disk string) *bench {
	t.Helper()
	b := &bench{TB: t, dir: filepath.Join(disk, "data")}
	b.reopen(rules(domain.SendBoth))
	t.Cleanup(func() { b.Store.Close() })
	for i := range 40 {
		b.receive(event(fmt.Sprint("before", i), "vip", true, 1))
	}
	return b
}

// TestAFullDiskLosesNothingAndRecoversByItself runs against the end of a real file system, at work and
// at a start.
func TestAFullDiskLosesNothingAndRecoversByItself(t *testing.T) {
	onFiles(t)
	t.Parallel()
	disk := tinyDisk(t, "24m")
	b := fortyOn(t, disk)
	f := b.take()

	fillDisk(t, disk)
	acked := 0
	for i := range 200 {
		if b.disk.budget.Full.Store(nil); b.Append(context.Background(), large(fmt.Sprint("during", i), 20<<10, true)) == nil {
			acked++
		}
	}
	if err := b.disk.budget.Refusal(); !errors.Is(err, domain.ErrFull) || acked == 200 {
		t.Fatalf("the disk never was full: %v, %d taken", err, acked)
	}
	b.disk.update()
	if b.disk.budget.Refusal() == nil {
		t.Error("a full disk is taken for one with room")
	}
	settled := make(chan error, 1)
	go func() { // as the sender does: again until it is written
		o := domain.Settlement{Lease: f.ID, At: noon.Add(time.Hour), Results: make([]domain.UserResult, len(f.Users))}
		for i := range o.Results {
			o.Results[i] = domain.UserResult{Attributes: domain.Result{Verdict: domain.Delivered}, Event: domain.Result{Verdict: domain.Delivered}}
		}
		err := b.Settle(context.Background(), o)
		for errors.Is(err, domain.ErrFull) {
			time.Sleep(5 * time.Millisecond)
			err = b.Settle(context.Background(), o)
		}
		settled <- err
	}()

	emptyDisk(t, disk)
	must(t, <-settled)
	b.disk.budget.Mu.Lock()
	b.disk.budget.Struck = time.Time{}
	b.disk.budget.Mu.Unlock()
	b.disk.update()
	must(t, b.disk.budget.Refusal())
	b.receive(event("after", "vip", true, 1))
	c := b.balance()
	if want := uint64(40 + acked + 1); c.Events.Accepted != want || c.Changes.Delivered != uint64(len(f.Users)) && c.Changes.Delivered != 2*uint64(len(f.Users)) {
		t.Errorf("accepted %d, acknowledged %d; %+v", c.Events.Accepted, want, c.Changes)
	}

	f = b.take()
	must(t, b.Close())
	fillDisk(t, disk)
	s, err := Open(b.dir, *b.upkeep.retention.Load())
	if err != nil {
		t.Fatalf("a full disk stops the start: %v", err)
	}
	b.Store = s
	if err := b.Append(context.Background(), event("late", "vip", true, 1)); !errors.Is(err, domain.ErrFull) {
		t.Errorf("append: %v", err)
	}
	emptyDisk(t, disk)
	must(t, b.Applied(context.Background()))
	if left, _ := filepath.Glob(filepath.Join(b.dir, "*.new")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	soundness(t, b)
	if f == nil {
		t.Error("nothing was in flight")
	}
}

// TestTheEndOfADiskIsKeptForOutcomes: what was received took the last page for itself as it was applied. Then no answer of MoEngage could be
// written down, nothing left although MoEngage was there, and the disk stayed full.
func TestTheEndOfADiskIsKeptForOutcomes(t *testing.T) {
	onFiles(t)
	t.Parallel()
	disk := tinyDisk(t, "64m")
	b := fortyOn(t, disk)
	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	must(t, err)
	defer ballast.Close()
	fillTo := func(keep datadir.Reserve) {
		for b.disk.tight(keep) == nil {
			_, err := ballast.Write(make([]byte, 64<<10))
			must(t, err)
		}
	}
	fillTo(datadir.ForLeases)
	b.disk.budget.Full.Store(nil) // the moment before the next measurement
	must(t, b.Append(context.Background(), event("late", "vip", true, 1)))
	if err := b.Applied(context.Background()); !errors.Is(err, domain.ErrFull) {
		t.Errorf("a caller that waits for what is not applied is told %v", err)
	}
	f, before := b.take(), b.balance().Changes.Delivered
	fillTo(datadir.ForOutcomes)
	if _, _, err := b.Take(context.Background(), everything(noon.Add(time.Hour))); !errors.Is(err, domain.ErrFull) {
		t.Errorf("changes are leased although only outcomes have room: %v", err)
	}
	b.settle(f, domain.Delivered)
	if now := b.balance().Changes.Delivered; now < before+40 {
		t.Errorf("%d changes are delivered, after %d", now, before)
	}
	history := func() (n int) {
		must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
			c := x.History.Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				n++
			}
			return nil
		}, nil))
		return n
	}
	for deadline := time.Now().Add(time.Minute); history() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d completed changes take room", history())
		}
	}
	must(t, ballast.Close())
	emptyDisk(t, disk)
	for err = domain.ErrFull; errors.Is(err, domain.ErrFull); { // until the writer looks again
		err = b.Applied(context.Background())
	}
	must(t, err)
	b.drain()
	if c := b.balance().Changes; c.Delivered != c.Created || c.Delivered != 2*41 {
		t.Errorf("%+v", c)
	}
}

// fillDisk writes until not a byte more goes.
func fillDisk(t *testing.T, disk string) {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "ballast"))
	must(t, err)
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, f.Close())
}

func emptyDisk(t *testing.T, disk string) {
	t.Helper()
	must(t, os.Remove(filepath.Join(disk, "ballast")))
}

// TestOrdersOnAFullDiskSaySo: they waited in silence for somebody to make room.
func TestOrdersOnAFullDiskSaySo(t *testing.T) {
	onFiles(t)
	t.Parallel() // it waits
	disk := tinyDisk(t, "24m")
	b := &bench{TB: t, dir: filepath.Join(disk, "data")}
	b.reopen(rules(domain.SendBoth))
	t.Cleanup(func() { b.Store.Close() })
	b.receive(event("member", "vip", true, 1), event("parked", "vip", true, 1, unusable))
	parked := b.ids(domain.StateParked)
	orders := map[string]func(context.Context) error{
		"stop waiting for those before it": b.CaughtUp,
		"forget a user":                    func(ctx context.Context) error { _, err := b.Forget(ctx, "member"); return err },
		"import": func(ctx context.Context) error {
			_, err := b.Import(ctx, Import{Key: "vip", AsOf: time.Now(), Users: users("member")})
			return err
		},
		"reconcile": func(ctx context.Context) error { _, err := b.Reconcile(ctx, "vip", false, false, nil); return err },
		"close":     func(ctx context.Context) error { _, err := b.CloseAudience(ctx, "vip", false, false, nil); return err },
		"release":   func(ctx context.Context) error { _, err := b.Decide(ctx, "vip", false, false, nil); return err },
		"discard":   func(ctx context.Context) error { _, err := b.Decide(ctx, "vip", true, false, nil); return err },
		"adopt":     func(ctx context.Context) error { _, err := b.Adopt(ctx, "vip", "other", false, nil); return err },
		"remove":    func(ctx context.Context) error { _, err := b.Remove(ctx, "vip", false); return err },
		"drop":      func(ctx context.Context) error { return b.Drop(ctx, time.Now(), parked) },
		"read again": func(ctx context.Context) error {
			_, err := b.ReadAgain(ctx, time.Now(), parked, func(e *domain.Event) *domain.Event { return e })
			return err
		},
	}
	must(t, b.writer.Pause(func() { // so that it has not applied them when the disk is full
		for i := range 100 {
			must(t, b.Append(context.Background(), large(fmt.Sprint("during", i), 20<<10, true)))
		}
		fillDisk(t, disk)
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for name, order := range orders { // each waits until the writer has tried again
		all.Go(func() {
			err := order(ctx)
			if !errors.Is(err, domain.ErrFull) || !strings.Contains(err.Error(), "nothing was done") && !strings.Contains(err.Error(), "is on disk") {
				t.Errorf("on a full disk, the order to %s says %v", name, err)
			}
		})
	}
	all.Wait()
	emptyDisk(t, disk)
	must(t, b.Applied(ctx))
	_, err := b.Forget(ctx, "during0")
	must(t, err)
}
