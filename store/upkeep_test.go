package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/repair"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// TestOrdersOfEverySortDuringUpkeep has operators give orders while the state is compacted and backed up
// over and over. The store is sound behind it, and so is what each backup restores.
func TestOrdersOfEverySortDuringUpkeep(t *testing.T) {
	onFiles(t)
	smallSlices(t)
	r := rules(domain.SendBoth | domain.SendCohort)
	r.Guard = domain.Guard{Share: 0.3, Count: 5, Window: time.Hour}
	b := open(t, r)
	b.SetRetention(Options{Log: query.Discard, Delivered: 20 * time.Hour, Parked: 40 * time.Hour, ExMembers: 60 * time.Hour})
	b.receive(mixedEvents(11, 1500)...)
	ctx, stop := context.WithCancel(context.Background())
	var hands sync.WaitGroup
	for hand := range 3 {
		hands.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(hand), 17))
			for ctx.Err() == nil {
				b.anything(rnd)
			}
		})
	}
	var backups [][]byte
	for range 4 {
		_, err := b.Compact(context.Background(), nil)
		mustBeFree(t, err)
		var backup bytes.Buffer
		_, err = b.Backup(context.Background(), &backup, nil)
		if mustBeFree(t, err); err == nil {
			backups = append(backups, backup.Bytes())
		}
	}
	stop()
	hands.Wait()
	must(t, b.Applied(context.Background()))
	b.balance()
	soundness(t, b)
	for _, content := range backups {
		path := filepath.Join(t.TempDir(), "backup.tar")
		must(t, os.WriteFile(path, content, 0o600))
		dir := filepath.Join(t.TempDir(), "data")
		report, err := Restore(context.Background(), path, dir, nil)
		must(t, err)
		if report.Faults > 0 {
			t.Errorf("restored with %v", report.Findings)
		}
		restored := adopt(t, dir)
		restored.balance()
		soundness(t, restored)
	}
}

// mustBeFree passes over that something else was at it: a forget compacts, too.
func mustBeFree(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, ErrUnderway) {
		must(t, err)
	}
}

// anything does one thing that people, Segment or the sender do.
func (b *bench) anything(rnd *rand.Rand) {
	ctx, user := context.Background(), fmt.Sprint("user", rnd.IntN(500))
	key := fmt.Sprint("aud", rnd.IntN(70))
	var err error
	switch rnd.IntN(14) {
	case 0, 1:
		err = b.Append(ctx, mixedEvents(rnd.Uint64(), 1+rnd.IntN(40))...)
	case 2:
		err = b.Retry(ctx, noon, b.some(domain.StateParked, rnd))
	case 3:
		err = b.Drop(ctx, noon, b.some(domain.State(1+rnd.IntN(3)), rnd))
	case 4:
		_, err = b.Import(ctx, Import{Key: key, AsOf: noon.Add(time.Duration(rnd.IntN(40)) * time.Minute), Events: rnd.IntN(2) == 0, Baseline: rnd.IntN(3) == 0, Create: true, Users: someUsers(rnd)})
	case 5:
		_, err = b.Reconcile(ctx, key, true, false, nil)
	case 6:
		_, err = b.CloseAudience(ctx, key, true, false, nil)
	case 7:
		_, err = b.Decide(ctx, key, rnd.IntN(2) == 0, false, nil)
	case 8:
		if rnd.IntN(4) == 0 {
			_, err = b.Forget(ctx, user)
		}
	case 9:
		_, err = b.Prune(ctx, noon.Add(time.Duration(rnd.IntN(100))*time.Hour))
	case 10:
		err = b.SetJobRun(ctx, query.JobRun{Job: key, Started: noon})
	case 11:
		err = b.KeepSample(ctx, query.Sample{At: noon.Add(time.Duration(rnd.IntN(300)) * time.Minute)})
	default:
		err = b.deliver(ctx, domain.Endpoint(1+rnd.IntN(2)), rnd)
	}
	if err != nil && !errors.Is(err, domain.ErrNotFound) && !errors.Is(err, ErrNoMembers) && !errors.As(err, new(*state.AmbiguousError)) {
		b.Error(err)
	}
}

// some is a few changes in a state.
func (b *bench) some(s domain.State, rnd *rand.Rand) (few []domain.ID) {
	page, _, err := b.Changes(domain.OutboxFilter{State: s, Limit: 50})
	must(b, err)
	for _, c := range page {
		if id, err := domain.ParseID(c.ID); err == nil && rnd.IntN(4) == 0 {
			few = append(few, id)
		}
	}
	return few
}

func someUsers(rnd *rand.Rand) iter.Seq2[string, error] {
	var users []string
	for range 30 {
		users = append(users, fmt.Sprint("user", rnd.IntN(500)))
	}
	return func(yield func(string, error) bool) {
		for _, u := range users {
			if !yield(u, nil) {
				return
			}
		}
	}
}

// deliver takes something and settles it anyhow.
func (b *bench) deliver(ctx context.Context, endpoint domain.Endpoint, rnd *rand.Rand) error {
	o := everything(noon.Add(3 * time.Hour))
	o.Endpoint, o.MaxUsers, o.MaxEvents = endpoint, 1+rnd.IntN(50), 1+rnd.IntN(50)
	f, _, err := b.Take(ctx, o)
	if f == nil || err != nil {
		return err
	}
	out := domain.Settlement{Lease: f.ID, At: noon.Add(3 * time.Hour), Results: make([]domain.UserResult, len(f.Users))}
	for i := range out.Results {
		r := domain.Result{Verdict: domain.Verdict(rnd.IntN(5)), Reason: "test"}
		out.Results[i] = domain.UserResult{Attributes: r, Event: r}
	}
	return b.Settle(ctx, out)
}

// TestADiskThatFillsDuringUpkeep fills a real file system in the middle of everything that writes much,
// and empties it again. Each answers that the disk is full, or had room enough; nothing is lost, and
// nothing is left behind.
func TestADiskThatFillsDuringUpkeep(t *testing.T) {
	onFiles(t)
	outside := t.TempDir()
	var whole string
	for name, work := range map[string]func(b *bench, disk string, full func()) error{
		"compaction, at its start": func(b *bench, _ string, full func()) error {
			return atPointOf(crashpoint.CompactionBegun, full, func() error { _, err := b.Compact(context.Background(), nil); return err })
		},
		"compaction, before the swap": func(b *bench, _ string, full func()) error {
			return atPointOf(crashpoint.CompactionReplayed, full, func() error { _, err := b.Compact(context.Background(), nil); return err })
		},
		"backup to the same disk": func(b *bench, disk string, full func()) error {
			return snapshot.CreateBackup(b.dir, filepath.Join(disk, "backup.tar"), func(w io.Writer) error {
				_, err := b.Backup(context.Background(), &filling{w: w, after: 100 << 10, full: full}, nil)
				return err
			})
		},
		"forget": func(b *bench, _ string, full func()) error {
			return atPointOf(crashpoint.CompactionCopied, full, func() error { _, err := b.Forget(context.Background(), "user7"); return err })
		},
		"import": func(b *bench, _ string, full func()) error {
			full()
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond) // it waits for room
			defer cancel()
			_, err := b.Import(ctx, Import{Key: "aud1", AsOf: noon, Users: someUsers(rand.New(rand.NewPCG(1, 1)))})
			return err
		},
		"check": func(b *bench, _ string, full func()) error {
			full()
			_, err := b.Check(context.Background(), nil)
			return err
		},
		"restore": func(b *bench, _ string, full func()) error {
			must(b, b.Store.Close())
			_, err := Restore(context.Background(), whole, b.dir, func(done, total int64) {
				if full != nil && done > total/3 {
					full()
					full = nil
				}
			})
			s, openErr := Open(b.dir, *b.upkeep.retention.Load())
			must(b, openErr)
			b.Store = s
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := tinyDisk(t, "64m")
			b := &bench{TB: t, dir: filepath.Join(disk, "data")}
			b.reopen(rules(domain.SendBoth))
			t.Cleanup(func() { b.Store.Close() })
			b.receive(mixedEvents(5, 1500)...)
			if whole == "" {
				whole = filepath.Join(outside, "backup.tar")
				must(t, os.Rename(backUp(t, b), whole))
			}
			want := stateOf(t, b)
			err := work(b, disk, func() { fillDisk(t, disk) })
			t.Logf("it ended with: %v", err)
			if err != nil && !errors.Is(err, domain.ErrFull) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("not a word of the full disk: %v", err)
			}
			emptyDisk(t, disk)
			b.disk.budget.Mu.Lock()
			b.disk.budget.Struck = time.Time{}
			b.disk.budget.Mu.Unlock()
			b.disk.update()
			b.receive(event("zoe", "vip", true, 1))
			b.balance()
			soundness(t, b)
			if name == "restore" && err != nil {
				if got := stateOf(t, b); !strings.Contains(got, "meta") || len(got) < len(want) {
					t.Error("a restore that failed changed the state")
				}
			}
			for _, pattern := range []string{"data/*.compact", "data/*.new", "data/restore.new", "data/replaced-*", "backup.tar", ".backup.tar.*"} {
				if left, _ := filepath.Glob(filepath.Join(disk, pattern)); len(left) > 0 && (err != nil || !strings.HasPrefix(pattern, "backup")) {
					t.Errorf("left behind: %v", left)
				}
			}
		})
	}
}

// atPointOf does something, and f once in the middle of it.
func atPointOf(p crashpoint.Point, f func(), do func() error) error {
	var once sync.Once
	crashpoint.OnPoint(func(at crashpoint.Point) {
		if at == p {
			once.Do(f)
		}
	})
	defer crashpoint.OnPoint(nil)
	return do()
}

// filling is a writer during which the disk gets full.
type filling struct {
	w     io.Writer
	after int
	full  func()
}

func (f *filling) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 && f.full != nil {
		f.full()
		f.full = nil
	}
	return f.w.Write(p)
}

// TestALongCheckGivesUpWhenItUsesUpTheRoom: like a backup it keeps freed pages from being used again.
func TestALongCheckGivesUpWhenItUsesUpTheRoom(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	b.receive(mixedEvents(5, 1500)...)
	_, err := b.Check(context.Background(), func(done, _ int64) {
		if done > 0 {
			b.disk.budget.Full.Store(&datadir.FullError{Reason: "test"})
		}
	})
	if !errors.Is(err, domain.ErrFull) {
		t.Errorf("it ended with %v", err)
	}
	_, err = b.Check(context.Background(), nil) // there was no room when it began: it takes none
	must(t, err)
}

// TestTwoRestoresDoNotMeet: the second finds the directory taken.
func TestTwoRestoresDoNotMeet(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	b.receive(mixedEvents(5, 300)...)
	path := backUp(t, b)
	must(t, b.Store.Close())
	var second error
	_, err := Restore(context.Background(), path, b.dir, func(done, _ int64) {
		if done > 0 && second == nil {
			_, second = Restore(context.Background(), path, b.dir, nil)
		}
	})
	must(t, err)
	if !errors.Is(second, ErrInUse) {
		t.Errorf("the second ended with %v", second)
	}
	s, err := Open(b.dir, Options{Log: query.Discard})
	must(t, err)
	b.Store = s
	soundness(t, b)
}

// TestAStoreThatIsGoneIsNotBegunAnewInSilence removes the data of a store and starts again.
func TestAStoreThatIsGoneIsNotBegunAnewInSilence(t *testing.T) {
	onFiles(t)
	log := new(bytes.Buffer)
	dir := t.TempDir()
	start := func() string {
		log.Reset()
		s, err := Open(dir, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
		must(t, err)
		must(t, s.Close())
		return log.String()
	}
	if said := start(); !strings.Contains(said, "a new store begins") || strings.Contains(said, "is gone") {
		t.Errorf("of a first start it says: %s", said)
	}
	if said := start(); strings.Contains(said, "begin") {
		t.Errorf("of a second start it says: %s", said)
	}
	files, err := repair.DataFiles(dir)
	must(t, err)
	for _, path := range files {
		must(t, os.Remove(path))
	}
	if said := start(); !strings.Contains(said, "level=ERROR") || !strings.Contains(said, "is gone") {
		t.Errorf("without its files it says: %s", said)
	}
}

// TestARowOfANewerProgramIsNotSetAside: it is whole, and a downgrade must not take it for damaged.
func TestARowOfANewerProgramIsNotSetAside(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	key := state.RowKey(state.UserKey("ann"), 0)
	var newer []byte
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		frame := x.Rows.Get(key)
		newer = slices.Clone(frame[:len(frame)-4])
		newer[0] = state.RowVersion + 1
		newer = wire.SealKeyed(newer, 0, key)
		return x.Rows.Put(key, newer)
	}, nil))
	must(t, b.Append(t.Context(), event("ann", "vip", false, 2)))
	err := b.writer.Do(t.Context(), func(x *state.Tx) error { x.Entry(x.User("ann"), 0); return x.Err }, nil)
	if !errors.Is(err, wire.ErrNewer) {
		t.Errorf("it ended with %v", err)
	}
	must(t, b.look(func(tx engine.Tx) error {
		if !bytes.Equal(tx.Bucket(state.BucketRows).Get(key), newer) {
			t.Error("the row is another")
		}
		return nil
	}))
}

// TestAnEventOfANewerProgramIsNotSetAside either: it was thrown out of its queue as damaged.
func TestAnEventOfANewerProgramIsNotSetAside(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1))
	var key, newer []byte
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		k, v := x.Queue.Cursor().Seek(state.UserKey("ann"))
		_, _, frame := state.ParseQueueValue(v)
		head := len(v) - len(frame)
		newer = bytes.Clone(v[:len(v)-4])
		newer[head] = state.ChangeVersion + 1
		key, newer = bytes.Clone(k), wire.Seal(newer, head)
		return x.Queue.Put(key, newer)
	}, nil))
	if _, _, err := b.Take(t.Context(), everything(noon.Add(time.Hour))); !errors.Is(err, wire.ErrNewer) {
		t.Errorf("a take ended with %v", err)
	}
	must(t, b.look(func(tx engine.Tx) error {
		if !bytes.Equal(tx.Bucket(state.BucketQueue).Get(key), newer) {
			t.Error("the event is another, or gone")
		}
		return nil
	}))
	b.wantNoTrouble()
}
