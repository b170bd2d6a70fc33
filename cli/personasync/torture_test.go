package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/crashpoint"
	"personasync/sync/sandbox"
)

// deathEnv names a file that says where this process is to end itself: "COUNT POINT", the COUNTth time
// it gets there. It is read at the start, and again on SIGUSR2.
const deathEnv = "PERSONASYNC_TEST_DEATH"

func dieOnOrder() {
	path := os.Getenv(deathEnv)
	if path == "" {
		return
	}
	os.Unsetenv(deathEnv)
	orders := make(chan os.Signal, 1)
	signal.Notify(orders, syscall.SIGUSR2)
	obey(path)
	go func() {
		for range orders {
			obey(path)
		}
	}()
}

func obey(path string) {
	text, _ := os.ReadFile(path)
	count, point, ordered := strings.Cut(string(text), " ")
	n, err := strconv.ParseInt(count, 10, 64)
	if !ordered || err != nil {
		return
	}
	var left atomic.Int64
	left.Store(n)
	crashpoint.OnPoint(func(p crashpoint.Point) {
		if p == crashpoint.Point(point) && left.Add(-1) == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
}

// How an agent ends beside at a Point.
const (
	killedAnywhere crashpoint.Point = "anywhere"
	killedStarting crashpoint.Point = "while it starts"
	killedSent     crashpoint.Point = "request sent"  // MoEngage never sees it
	killedTaken    crashpoint.Point = "request taken" // MoEngage's answer is never read
)

// deaths is every way to end; those that need a day's worth of events come last.
var deaths = []crashpoint.Point{
	crashpoint.InboxCommitted, crashpoint.StateWritten, crashpoint.StateCommitted,
	crashpoint.RequestReady, killedSent, killedTaken, crashpoint.AnswerRead, crashpoint.Settled,
	crashpoint.CompactionBegun, crashpoint.CompactionCopied, crashpoint.CompactionReplayed,
	crashpoint.CompactionSynced, crashpoint.CompactionRenamed, crashpoint.CompactionSwapped,
	crashpoint.BackupSynced, crashpoint.BackupNamed,
	killedAnywhere, killedStarting,
	crashpoint.SegmentNamed, crashpoint.InboxTrimmed,
}

// plan is how long a torture test goes on: in its short form once through everything; in its long form,
// asked for by PERSONASYNC_TORTURE, until so many are done or the time box is over, whatever is sooner.
type plan struct {
	seed  uint64
	count int64
	until time.Time
	long  bool
}

func planned(t *testing.T, short, long int64) plan {
	t.Helper()
	p := plan{seed: rand.Uint64() >> 32, count: short, until: time.Now().Add(time.Hour), long: os.Getenv("PERSONASYNC_TORTURE") != ""}
	if p.long {
		p.count = long
	}
	if text := os.Getenv("PERSONASYNC_TORTURE_SEED"); text != "" {
		var err error
		if p.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("PERSONASYNC_TORTURE_SEED: %v", err)
		}
	}
	if text := os.Getenv("PERSONASYNC_TORTURE_BOX"); text != "" {
		box, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("PERSONASYNC_TORTURE_BOX: %v", err)
		}
		p.until = time.Now().Add(box)
	}
	t.Logf("PERSONASYNC_TORTURE_SEED=%d", p.seed)
	return p
}

// troubles are what MoEngage does in half of the rounds while the agent is killed.
var troubles = []sandbox.Fault{
	{Status: http.StatusServiceUnavailable, Every: 2},
	{Status: http.StatusTooManyRequests, RetryAfter: time.Second, First: 2},
	{Status: http.StatusInternalServerError, When: "after", Every: 3}, // it has taken the request all the same
	{Reset: true, When: "after", Every: 2},
	{Truncate: true, Every: 3},
	{Slow: 30 * time.Millisecond},
}

// TestKilledAtEveryPoint posts to an agent that ends itself with SIGKILL at each named point between two
// writes, or is killed at any moment, and starts it again. After each death everything that was posted
// is at MoEngage, in each user's order, was applied once, and the ledger balances.
func TestKilledAtEveryPoint(t *testing.T) {
	worlds := 4
	p := planned(t, int64(len(deaths)), 1000)
	var turn, kills, missed, repeats atomic.Int64
	var mu sync.Mutex
	tally := map[crashpoint.Point]int{}
	began := time.Now()
	t.Run("worlds", func(t *testing.T) {
		for i := range worlds {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				v := newVictim(t, p.seed+uint64(i))
				for kills.Load() < p.count && time.Now().Before(p.until) && !t.Failed() {
					point := deaths[int(turn.Add(1)-1)%len(deaths)]
					for !v.dies(point) { // on a busy host its moment may not come: the point is tried again
						if missed.Add(1) > 2*p.count {
							t.Fatalf("%d deaths did not come", missed.Load())
						}
					}
					kills.Add(1)
					mu.Lock()
					tally[point]++
					mu.Unlock()
				}
				repeats.Add(int64(v.repeats))
				v.check()
			})
		}
	})
	t.Logf("%d kills in %s (%d did not come to their point and were killed late), %d events came twice", kills.Load(), time.Since(began).Round(time.Second), missed.Load(), repeats.Load())
	for _, point := range deaths {
		t.Logf("%5d at: %s", tally[point], point)
		if tally[point] == 0 && !t.Failed() && time.Now().Before(p.until) {
			t.Errorf("nobody died at: %s", point)
		}
	}
}

// victim is a world whose agent is killed again and again.
type victim struct {
	*world
	rnd     *rand.Rand
	order   string // the file
	rounds  int
	posted  uint64 // transitions so far
	repeats int
}

func newVictim(t *testing.T, seed uint64) *victim {
	v := &victim{world: newWorld(t), rnd: rand.New(rand.NewPCG(seed, 7))}
	v.order = filepath.Join(v.dir, "order")
	text, err := os.ReadFile(v.config)
	if err == nil { // files of the inbox that fill up quickly, and go as soon as they may
		text = append(text, "[retention]\nreceived_bytes = 1048576\nmax_data_bytes = 300000000\n"...)
		err = os.WriteFile(v.config, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	v.env = append(v.env, deathEnv+"="+v.order)
	v.start()
	v.settled()
	return v
}

// dies brings the agent to its end at point while deliveries come in, starts it again, and looks whether
// all is well. It reports whether the agent ended at that point.
func (v *victim) dies(point crashpoint.Point) (there bool) {
	v.Helper()
	v.rounds++
	posters := v.posters()
	if n := v.rnd.IntN(2 * len(troubles)); n < len(troubles) {
		v.box.Fail(troubles[n])
	}
	if point == crashpoint.InboxTrimmed || point == crashpoint.SegmentNamed {
		v.fatten(point)
	}
	switch point {
	case killedSent, killedTaken:
		v.ambush(point)
	case crashpoint.BackupSynced, crashpoint.BackupNamed: // the command's, not the agent's
	case killedAnywhere, killedStarting, crashpoint.SegmentNamed:
	case crashpoint.InboxTrimmed: // it comes with the start
		v.kill()
		v.orderDeath(point, 1)
		v.start()
	default:
		count := 1
		if !strings.HasPrefix(string(point), "compact") {
			count += v.rnd.IntN(4)
		}
		v.orderDeath(point, count)
		if err := v.agent.Process.Signal(syscall.SIGUSR2); err != nil {
			v.Fatal(err)
		}
	}
	var posting sync.WaitGroup
	for _, p := range posters {
		posting.Go(func() {
			for range 8 {
				v.post(p.next())
				time.Sleep(time.Millisecond)
			}
		})
	}
	there = v.awaitDeath(point)
	v.front.Store(nil)
	v.kill()
	if err := os.RemoveAll(v.order); err != nil {
		v.Fatal(err)
	}
	v.start()
	posting.Wait()
	v.box.Heal()
	s := v.settled()
	for _, p := range posters {
		v.repeats += p.compare(v.T, v.box)
		v.posted += uint64(p.count)
	}
	if !s.Events.Balances() || !s.Changes.Balances() {
		v.Errorf("died %s: the ledger does not balance: %+v %+v", point, s.Events, s.Changes)
	}
	if s.Events.Transitions != v.posted || s.Events.Parked+s.Events.Lost != 0 || len(s.Salvages) != 0 {
		v.Errorf("died %s: posted %d transitions, the ledger has %+v, salvaged %+v", point, v.posted, s.Events, s.Salvages)
	}
	return there
}

// posters post for users that nobody posted for before.
func (v *victim) posters() []*poster {
	list := newPosters(4, 3)
	for _, p := range list {
		p.rnd = rand.New(rand.NewPCG(v.rnd.Uint64(), 1))
		for j := range p.users {
			p.users[j] = fmt.Sprintf("round-%d-%s", v.rounds, p.users[j])
		}
	}
	return list
}

func (v *victim) orderDeath(point crashpoint.Point, count int) {
	v.Helper()
	if err := os.WriteFile(v.order, fmt.Appendf(nil, "%d %s", count, point), 0o600); err != nil {
		v.Fatal(err)
	}
}

// awaitDeath does what the point takes, and waits for the end.
func (v *victim) awaitDeath(point crashpoint.Point) bool {
	v.Helper()
	switch {
	case point == killedAnywhere:
		time.Sleep(time.Duration(v.rnd.IntN(60)) * time.Millisecond)
		return true
	case point == killedStarting:
		v.kill()
		v.start()
		time.Sleep(time.Duration(v.rnd.IntN(60)) * time.Millisecond)
		return true
	case strings.HasPrefix(string(point), "compact"):
		_ = v.command("db", "compact", "--config", v.config).Run() // it loses its agent
	case strings.HasPrefix(string(point), "backup"):
		return v.killBackup(point)
	}
	select {
	case <-v.gone:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

// killBackup has the backup command die. What bears the backup's name is whole, or nothing does.
func (v *victim) killBackup(point crashpoint.Point) bool {
	v.Helper()
	v.orderDeath(point, 1)
	path := filepath.Join(v.dir, fmt.Sprintf("backup-%d.tar", v.rounds))
	err := v.command("db", "backup", path, "--config", v.config).Run()
	if err == nil {
		return false
	}
	_, err = store.VerifyBackup(path, nil)
	if missing := errors.Is(err, fs.ErrNotExist); missing != (point == crashpoint.BackupSynced) || !missing && err != nil {
		v.Errorf("after a death at %q the backup says: %v", point, err)
	}
	_ = os.Remove(path)
	return true
}

// ambush kills the agent when a request of its is on the way.
func (v *victim) ambush(point crashpoint.Point) {
	left := atomic.Int64{}
	left.Store(int64(1 + v.rnd.IntN(3)))
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		hit := left.Add(-1) == 0
		if hit && point == killedSent {
			_ = v.agent.Process.Kill()
			panic(http.ErrAbortHandler)
		}
		v.box.ServeHTTP(rw, r)
		if hit {
			_ = v.agent.Process.Kill()
			panic(http.ErrAbortHandler)
		}
	})
	v.front.Store(&handler)
}

// fatten fills a file of the inbox, so that the next one is begun and, for a trim, the full one may go.
func (v *victim) fatten(point crashpoint.Point) {
	v.Helper()
	if point == crashpoint.SegmentNamed {
		v.orderDeath(point, 1)
		if err := v.agent.Process.Signal(syscall.SIGUSR2); err != nil {
			v.Fatal(err)
		}
	}
	pad := strings.Repeat("x", 4<<20)
	for range 7 {
		select {
		case <-v.gone: // begun
			return
		default:
		}
		v.postOnce(fmt.Appendf(nil, `{"type":"track","userId":"fat","event":"Fat","messageId":"fat","timestamp":"2026-01-02T03:04:05Z","properties":{"pad":%q}}`, pad))
	}
	if point == crashpoint.InboxTrimmed {
		v.box.Heal()
		v.settled()
	}
}

// settled waits until nothing is left to do.
func (v *victim) settled() (s condition.Status) {
	v.Helper()
	v.until("everything to be applied and delivered", func() bool {
		c, err := api.Dial(context.Background(), filepath.Join(v.dir, "data", "admin.sock"), "")
		if err != nil {
			return false
		}
		defer c.Close()
		s, err = c.Status(context.Background())
		return err == nil && s.Ready && s.Pending+s.Unapplied == 0
	})
	return s
}

// check reads all files of the stopped agent.
func (v *victim) check() {
	v.Helper()
	v.kill()
	if out, err := v.command("db", "check", "--config", v.config).CombinedOutput(); err != nil {
		v.Errorf("db check: %v\n%s", err, out)
	}
	for _, violation := range v.box.Violations() {
		v.Errorf("MoEngage would object: %s %s", violation.Rule, violation.Detail)
	}
}
