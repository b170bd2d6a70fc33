package store

import (
	"personasync/store/engine/bolt"

	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
)

// mixedEvents is n events of every sort about few users, in an order that seed decides.
func mixedEvents(seed uint64, n int) (events []*domain.Event) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	for i := range n {
		e := event(fmt.Sprint("user", rnd.IntN(500)), fmt.Sprint("aud", rnd.IntN(70)), rnd.IntN(2) == 0, rnd.IntN(28))
		switch i % 9 {
		case 1:
			asTrack("Moved")(e)
		case 2:
			e = trait(e.User.ID, fmt.Sprint("t", rnd.IntN(3)), rnd.IntN(28), "a", fmt.Sprint(rnd.IntN(3)), "b", `"x"`)
		case 3:
			e.Fault, e.Sentence = "undetermined", "no flag"
		case 4:
			passThrough(fmt.Sprint(rnd.IntN(2000)))(e)
		case 5:
			if rnd.IntN(10) == 0 {
				e = &domain.Event{Received: noon.Add(31 * time.Minute), Time: noon, Call: domain.CallDelete, User: domain.Identifier{ID: e.User.ID}, Raw: []byte("{}")}
			}
		}
		events = append(events, e)
	}
	return events
}

// TestCompactionUnderLoadLosesNothing applies the same records to two stores, one of which is
// compacted over and over meanwhile, and compares the files.
func TestCompactionUnderLoadLosesNothing(t *testing.T) {
	onFiles(t)
	smallSlices(t)
	plain, compacted := open(t, rules(domain.SendBoth)), open(t, rules(domain.SendBoth))
	events := mixedEvents(1, 3000)
	half := len(events) / 2
	plain.receive(events[:half]...)
	compacted.receive(events[:half]...)
	var load sync.WaitGroup
	load.Go(func() {
		for rest := events[half:]; len(rest) > 0; rest = rest[min(20, len(rest)):] {
			must(t, compacted.Append(context.Background(), rest[:min(20, len(rest))]...))
			time.Sleep(time.Millisecond)
		}
	})
	ended := make(chan struct{})
	go func() { load.Wait(); close(ended) }()
	times := 0
	for over := false; !over; times++ {
		select {
		case <-ended:
			over = true
		default:
		}
		_, err := compacted.Compact(context.Background(), nil)
		must(t, err)
	}
	plain.receive(events[half:]...)
	must(t, compacted.Applied(context.Background()))
	if a, b := dump(t, plain), dump(t, compacted); a != b {
		t.Errorf("after %d compactions the state is another:\n%s", times, firstDifference(a, b))
	}
	soundness(t, compacted)
	if _, err := os.Stat(filepath.Join(compacted.dir, compactFile)); err == nil {
		t.Error("the copy is still there")
	}
	compacted.reopen(rules(domain.SendBoth))
	if a, b := dump(t, plain), dump(t, compacted); a != b {
		t.Errorf("after the restart: %s", firstDifference(a, b))
	}
}

// smallSlices has a small file copied in many steps.
func smallSlices(t *testing.T) {
	bytes, limit := bolt.SliceBytes, bolt.DirtySetLimit
	bolt.SliceBytes, bolt.DirtySetLimit = 48<<10, 200
	t.Cleanup(func() { bolt.SliceBytes, bolt.DirtySetLimit = bytes, limit })
}

// TestDeliveryAndReadersGoOnDuringACompaction takes, settles and reads while the file is replaced.
func TestDeliveryAndReadersGoOnDuringACompaction(t *testing.T) {
	onFiles(t)
	smallSlices(t)
	b := open(t, rules(domain.SendBoth))
	b.receive(mixedEvents(2, 1500)...)
	ctx, stop := context.WithCancel(context.Background())
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			o := everything(noon.Add(time.Hour))
			o.MaxUsers, o.MaxEvents = 20, 20
			f, _, err := b.Take(context.Background(), o)
			must(t, err)
			if f == nil {
				must(t, b.Append(context.Background(), mixedEvents(rand.Uint64(), 200)...))
				continue
			}
			out := domain.Settlement{Lease: f.ID, At: noon.Add(time.Hour), Results: make([]domain.UserResult, len(f.Users))}
			for i := range out.Results {
				v := domain.Verdict(rand.IntN(5))
				out.Results[i] = domain.UserResult{Attributes: domain.Result{Verdict: v, Reason: "test"}, Event: domain.Result{Verdict: v, Reason: "test"}}
			}
			must(t, b.Settle(context.Background(), out))
		}
	})
	for range 2 {
		load.Go(func() {
			for ctx.Err() == nil {
				if _, err := b.User(fmt.Sprint("user", rand.IntN(500))); err != nil && !errors.Is(err, domain.ErrNotFound) {
					t.Error(err)
				}
				_, err := b.Counts()
				must(t, err)
				_, err = b.Prune(context.Background(), noon.Add(time.Hour))
				must(t, err)
			}
		})
	}
	for range 2 {
		_, err := b.Compact(context.Background(), nil)
		must(t, err)
	}
	stop()
	load.Wait()
	must(t, b.Applied(context.Background()))
	b.balance()
	soundness(t, b)
}

// soundness fails the test for every finding of a full check.
func soundness(t testing.TB, b *bench) {
	t.Helper()
	options := *b.upkeep.retention.Load()
	if onPostgres {
		recount(t, b)
		must(t, b.Store.Close())
	} else {
		must(t, b.Store.Close())
		r, err := repair.Check(context.Background(), b.dir, nil)
		must(t, err)
		for _, f := range r.Findings {
			t.Errorf("check: %s", f.Message)
		}
	}
	s, err := b.openStore(options)
	must(t, err)
	b.Store = s
}

// TestADayOfMessageIdsDroppedDuringACompactionStaysDropped drops a day's ids after they were copied,
// and has a late event make the same day again.
func TestADayOfMessageIdsDroppedDuringACompactionStaysDropped(t *testing.T) {
	onFiles(t)
	plain, compacted := open(t, rules(domain.SendAsReceived)), open(t, rules(domain.SendAsReceived))
	life := func(b *bench, meanwhile func(do func())) {
		b.receive(event("ann", "step", true, 1, passThrough("a")), event("ann", "step", true, 2, passThrough("b")))
		meanwhile(func() {
			_, err := b.Prune(context.Background(), noon.Add(5*state.Day))
			must(t, err)
			b.receive(event("ann", "step", true, 3, passThrough("c")))
		})
	}
	life(plain, func(do func()) { do() })
	life(compacted, func(do func()) {
		crashpoint.OnPoint(func(at crashpoint.Point) {
			if at == crashpoint.CompactionCopied {
				do()
			}
		})
		defer crashpoint.OnPoint(nil)
		_, err := compacted.Compact(context.Background(), nil)
		must(t, err)
	})
	if a, b := dump(t, plain), dump(t, compacted); a != b {
		t.Errorf("the state is another:\n%s", firstDifference(a, b))
	}
}

func TestCompactionGivesBackWhatWasForgotten(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := open(t, rules(domain.SendNone))
	const secret = "who-must-not-be-found"
	var events []*domain.Event
	for i := range 400 {
		events = append(events, event(fmt.Sprint(secret, i), "vip", true, 1))
	}
	b.receive(events...)
	events = nil
	for i := range 400 {
		events = append(events, &domain.Event{Received: noon.Add(30 * time.Minute), Time: noon, Call: domain.CallDelete, User: domain.Identifier{ID: fmt.Sprint(secret, i)}, MessageID: "d", Raw: []byte(`{}`)})
	}
	b.receive(events...)
	path := filepath.Join(b.dir, datadir.StateFile)
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), secret) {
		t.Fatal("the bytes of deleted users were gone by themselves: this test shows nothing", err)
	}
	_, err := b.Compact(context.Background(), nil)
	must(t, err)
	text, err := os.ReadFile(path)
	must(t, err)
	if strings.Contains(string(text), secret) {
		t.Error("a forgotten user is still in the file")
	}
}

func TestTheCompactedFileIsOpenedLikeEveryOther(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	before := settings(b.db.DB())
	_, err := b.Compact(context.Background(), nil)
	must(t, err)
	if after := settings(b.db.DB()); before != after {
		t.Errorf("before %+v, after %+v", before, after)
	}
	b.reopen(rules(domain.SendNone))
	if after := settings(b.db.DB()); before != after {
		t.Errorf("before %+v, after a restart %+v", before, after)
	}
}

// settings is every option of an open file that can be read back.
func settings(db *bbolt.DB) string {
	v, text := reflect.ValueOf(db).Elem(), ""
	for i := range v.NumField() {
		switch f := v.Type().Field(i); f.Type.Kind() {
		case reflect.Bool, reflect.Int, reflect.String:
			if f.IsExported() {
				text += fmt.Sprintf("%s=%v ", f.Name, v.Field(i))
			}
		}
	}
	return text
}

// outrunning is a context under which the writer touches as many keys as it may each time that the compaction
// looks up: it is faster than any copy. It ends the compaction when that looks up too often.
type outrunning struct {
	context.Context
	trace *bolt.DirtySet
	looks int
}

func (w *outrunning) Err() error {
	if w.looks++; w.looks > 10*bolt.Rounds {
		return context.DeadlineExceeded
	}
	if !w.trace.Full() {
		w.trace.Merge(manyKeys())
	}
	return w.Context.Err()
}

// manyKeys is as many keys of users as a replay takes at a time.
func manyKeys() (keys []bolt.DirtyKey) {
	for i := range bolt.LastKeys + 1000 {
		keys = append(keys, bolt.DirtyKey{Bucket: string(state.BucketRows), Key: fmt.Sprint("somebody", i)})
	}
	return keys
}

// copying is a compaction that has copied everything and has the keys of a busy writer to copy again.
func copying(t *testing.T, b *bench) *compaction {
	t.Helper()
	c := &compaction{s: b.upkeep, path: filepath.Join(b.dir, compactFile)}
	must(t, c.begin())
	must(t, c.copy.All(t.Context()))
	c.copy.Dirty().Merge(manyKeys())
	return c
}

// TestAWriterThatOutrunsTheCopyIsHeldAtLast: under steady writes the compaction would never end.
func TestAWriterThatOutrunsTheCopyIsHeldAtLast(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	c := copying(t, b)
	w := &outrunning{Context: t.Context(), trace: c.copy.Dirty()}
	if err := c.copy.CatchUp(w); err != nil || c.copy.Dirty().Length() > bolt.LastKeys {
		t.Errorf("after %d looks: %v, %d keys are left", w.looks, err, c.copy.Dirty().Length())
	}
	if w.looks <= bolt.Rounds {
		t.Errorf("the writer was held after %d rounds already", w.looks)
	}
	must(t, c.abandon())
	b.receive(event("ann", "vip", false, 2)) // the writer goes on
	b.wantMembers("vip")
}

// TestACompactionIsCancelledWhileItCatchesUp, as by a stop, which does not wait for it.
func TestACompactionIsCancelledWhileItCatchesUp(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	c := copying(t, b)
	why := errors.New("the agent stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := c.copy.CatchUp(ctx); !errors.Is(err, why) {
		t.Errorf("it ended with %v", err)
	}
	must(t, c.abandon())
	b.receive(event("ann", "vip", false, 2))
	b.wantMembers("vip")
}

// TestACompactionThatFailsSaysSo, at each of its steps, and leaves the file that was: `user forget` promises that
// nothing is left in it.
func TestACompactionThatFailsSaysSo(t *testing.T) {
	onFiles(t)
	t.Run("the copy cannot be made", func(t *testing.T) {
		b := open(t, rules(domain.SendAttribute))
		b.receive(event("ann", "vip", true, 1))
		must(t, os.MkdirAll(filepath.Join(b.dir, compactFile, "in the way"), 0o700))
		if r, err := b.Compact(t.Context(), nil); err == nil {
			t.Errorf("it succeeded: %+v", r)
		}
		b.receive(event("ann", "vip", false, 2))
		b.wantMembers("vip")
	})
	t.Run("the last keys cannot be copied", func(t *testing.T) {
		b := open(t, rules(domain.SendAttribute))
		b.receive(event("ann", "vip", true, 1))
		c := copying(t, b)
		must(t, c.copy.Done().Close())
		var old *bolt.State
		var err error
		must(t, b.writer.Pause(func() { old, err = c.swap() }))
		if old != nil || err == nil {
			t.Errorf("it took the state's place: %v, %v", old, err)
		}
		must(t, c.abandon())
		b.receive(event("ann", "vip", false, 2))
		b.wantMembers("vip")
	})
}

func TestOneUpkeepAtATime(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	b.upkeep.busy.Lock()
	_, err := b.Compact(context.Background(), nil)
	b.upkeep.busy.Unlock()
	if !errors.Is(err, ErrUnderway) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Compact(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled compaction: %v", err)
	}
	_, err = b.Compact(context.Background(), nil) // and the one after it works
	must(t, err)
	must(t, b.Close())
	if _, err := b.Compact(context.Background(), nil); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestWhenAFileIsSparse(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	now := time.Now()
	for _, tc := range []struct {
		name       string
		size, live int64
		rested     time.Duration
		full, want bool
	}{
		{"half free", 100 << 20, 40 << 20, 2 * sparseRest, false, true},
		{"half free, but small", 60 << 20, 10 << 20, 2 * sparseRest, false, false},
		{"mostly live", 1 << 30, 600 << 20, 2 * sparseRest, false, false},
		{"half free, compacted a moment ago", 100 << 20, 40 << 20, time.Minute, false, false},
		{"mostly live, and no room", 1 << 30, 600 << 20, time.Minute, true, true},
		{"all live, and no room", 1 << 30, 1 << 30, time.Minute, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.upkeep.compacted.Store(now.Add(-tc.rested).UnixNano())
			b.disk.budget.Full.Store(nil)
			if tc.full {
				b.disk.budget.Full.Store(&datadir.FullError{Reason: "test"})
			}
			if got := b.upkeep.sparse(tc.size, tc.live, now); got != tc.want {
				t.Errorf("sparse: %v", got)
			}
		})
	}
}

// TestKilledDuringCompaction kills a process at every step of a compaction, and finds all it had
// written, and one state.db.
func TestKilledDuringCompaction(t *testing.T) {
	onFiles(t)
	for _, step := range []crashpoint.Point{crashpoint.CompactionBegun, crashpoint.CompactionCopied, crashpoint.CompactionReplayed, crashpoint.CompactionSynced, crashpoint.CompactionRenamed, crashpoint.CompactionSwapped} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			b := open(t, rules(domain.SendBoth))
			b.receive(mixedEvents(5, 1500)...)
			want := dump(t, b)
			must(t, b.Store.Close())
			child := exec.Command(os.Args[0], "-test.run=^TestCompactionChild$")
			child.Env = append(os.Environ(), "STORE_DIR="+b.dir, "STORE_STEP="+string(step))
			out, err := child.CombinedOutput()
			var died *exec.ExitError
			if !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child was to be killed: %v\n%s", err, out)
			}
			s, err := Open(b.dir, *b.upkeep.retention.Load())
			must(t, err)
			b.Store = s
			if got := dump(t, b); got != want {
				t.Errorf("the state is another: %s", firstDifference(want, got))
			}
			if left, _ := filepath.Glob(filepath.Join(b.dir, datadir.StateFile+".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			soundness(t, b)
		})
	}
}

// TestCompactionChild is the process that TestKilledDuringCompaction kills.
func TestCompactionChild(t *testing.T) {
	onFiles(t)
	dir, step := os.Getenv("STORE_DIR"), os.Getenv("STORE_STEP")
	if dir == "" {
		return
	}
	crashpoint.OnPoint(func(at crashpoint.Point) {
		if at == crashpoint.Point(step) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	s, err := Open(dir, Options{Log: query.Discard})
	must(t, err)
	_, err = s.Compact(context.Background(), nil)
	t.Fatalf("step %q never came: %v", step, err)
}

// TestFreelistsThatCostMoreThanACompactionEndInOne: within the hour between two compactions a freelist
// grew by itself until it took 3 MB of every commit, and the file 1.7 GB for 200 MB.
func TestFreelistsThatCostMoreThanACompactionEndInOne(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	now := noon
	b.upkeep.compacted.Store(now.UnixNano()) // the other rule rests
	const live, size = 200 << 20, 350 << 20
	if b.upkeep.sparse(size, live, now) {
		t.Error("a compaction although freelists cost nothing yet")
	}
	b.db.FreelistBytes.Store(5 * live)
	if !b.upkeep.sparse(size, live, now) {
		t.Error("no compaction although freelists cost five times as much")
	}
	if b.upkeep.sparse(live+1<<20, live, now) {
		t.Error("a compaction that gives a megabyte back")
	}

	b.db.FreelistBytes.Store(0)
	b.receive(event("ann", "vip", true, 1))
	b.drain()
	if b.db.FreelistBytes.Load() == 0 {
		t.Error("commits write freelists, and it is not counted")
	}
	b.db.FreelistBytes.Store(1 << 40)
	if _, err := b.Compact(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if toll := b.db.FreelistBytes.Load(); toll > 1<<30 {
		t.Errorf("after a compaction %d bytes are still on the bill", toll)
	}
}
