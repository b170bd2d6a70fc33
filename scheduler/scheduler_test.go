package scheduler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// midnight is where the fake time of testing/synctest begins.
var midnight = date(2000, time.January, 1)

// at returns a time of the first day.
func at(hour, minute int) time.Time {
	return midnight.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
}

func sleepUntil(t time.Time) {
	time.Sleep(time.Until(t))
	synctest.Wait()
}

// shelf is an in-memory ledger that outlives its scheduler and can be made to fail.
type shelf struct {
	mu   sync.Mutex
	runs map[string]Run
	err  error
}

func newShelf(runs ...Run) *shelf {
	l := &shelf{runs: map[string]Run{}}
	for _, r := range runs {
		l.runs[r.Job] = r
	}
	return l
}

func (l *shelf) Runs() ([]Run, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.runs)), l.err
}

func (l *shelf) Record(ctx context.Context, r Run) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.err, ctx.Err()); err != nil {
		return err
	}
	l.runs[r.Job] = r
	return nil
}

func (l *shelf) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *shelf) run(job string) Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[job]
}

// asAfterACrash returns a copy of the ledger. Later writes of this process do not reach it.
func (l *shelf) asAfterACrash() *shelf {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &shelf{runs: maps.Clone(l.runs)}
}

// begun is the start of a run: the time, and the scheduled time it stands for.
type begun struct{ At, Scheduled time.Time }

// promptly returns runs that began on time.
func promptly(times ...time.Time) []begun {
	var all []begun
	for _, at := range times {
		all = append(all, begun{at, at})
	}
	return all
}

// worker runs a job and records its calls.
type worker struct {
	takes time.Duration // how long a run lasts unless it is stopped
	err   error

	mu      sync.Mutex
	runs    []begun
	beside  int // runs in progress
	crowded bool
}

func (w *worker) Do(ctx context.Context, scheduled time.Time) error {
	w.enter(scheduled)
	defer w.leave()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(w.takes):
		return w.err
	}
}

func (w *worker) enter(scheduled time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beside++
	w.crowded = w.crowded || w.beside > 1
	w.runs = append(w.runs, begun{time.Now().UTC(), scheduled.UTC()})
}

func (w *worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beside--
}

// expect compares the recorded runs with want and clears them.
func (w *worker) expect(t *testing.T, want ...begun) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(want, w.runs); diff != "" {
		t.Fatalf("runs (-want +got):\n%s", diff)
	}
	if w.crowded {
		t.Fatal("two runs of the job overlapped")
	}
	w.runs = nil
}

// job returns a job named "job".
func (w *worker) job(t testing.TB, spec string, catchUp bool) Job {
	return Job{Name: "job", Schedule: mustParse(t, spec, "UTC"), CatchUp: catchUp, Do: w.Do}
}

var quiet = slog.New(slog.DiscardHandler)

// started runs s until stop is called or the test ends. stop waits for Run to return.
func started(t *testing.T, s *Scheduler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	synctest.Wait()
	return stop
}

// begin calls New and started.
func begin(t *testing.T, l Ledger, jobs ...Job) (s *Scheduler, stop func()) {
	t.Helper()
	s = New(quiet, l, jobs...)
	return s, started(t, s)
}

func TestRunsAtItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w worker
		l := newShelf()
		begin(t, l, w.job(t, "*/20 * * * *", true))
		sleepUntil(at(1, 10))
		w.expect(t, promptly(at(0, 20), at(0, 40), at(1, 0))...)
		want := Run{Job: "job", Started: at(1, 0), Finished: at(1, 0)}
		if diff := cmp.Diff(want, l.run("job")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNightJobInBerlinOnTheDayOfTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := mustZone(t, "Europe/Berlin")
		var ran []string
		s := New(quiet, newShelf(), Job{Name: "job", Schedule: mustParse(t, "30 2 * * *", "Europe/Berlin"),
			Do: func(_ context.Context, scheduled time.Time) error {
				ran = append(ran, scheduled.In(zone).Format(time.RFC3339))
				return nil
			}})
		s.now = setTo(time.Date(2026, time.March, 28, 12, 0, 0, 0, zone))
		stop := started(t, s)
		time.Sleep(48 * time.Hour)
		stop()
		want := []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}
		if diff := cmp.Diff(want, ran); diff != "" {
			t.Error(diff)
		}
	})
}

// setTo returns a clock that shows begin now.
func setTo(begin time.Time) func() time.Time {
	since := time.Now()
	return func() time.Time { return begin.Add(time.Since(since)).Round(0) }
}

func TestRunSlowerThanItsScheduleNeverOverlaps(t *testing.T) {
	for _, c := range []struct {
		story   string
		catchUp bool
		want    []begun
	}{
		{"caught up at once, for the last that passed", true, []begun{
			{at(0, 5), at(0, 5)}, {at(0, 17), at(0, 15)}, {at(0, 29), at(0, 25)}}},
		{"or skipped", false, promptly(at(0, 5), at(0, 20), at(0, 35))},
	} {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := worker{takes: 12 * time.Minute}
				s, _ := begin(t, newShelf(), w.job(t, "*/5 * * * *", c.catchUp))
				sleepUntil(at(0, 36))
				w.expect(t, c.want...)
				// Of seven times, count those for which no run began.
				var own uint64
				for _, r := range c.want {
					if r.At.Equal(r.Scheduled) {
						own++
					}
				}
				if p := s.Plan()[0]; !p.Running || p.Last.Missed != 7-own {
					t.Errorf("running %v, missed %d", p.Running, p.Last.Missed)
				}
			})
		})
	}
}

func TestOneSlowJobDoesNotDelayAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := worker{takes: time.Hour}, worker{}
		other := fast.job(t, "*/10 * * * *", false)
		other.Name = "other"
		begin(t, newShelf(), slow.job(t, "*/10 * * * *", false), other)
		sleepUntil(at(0, 35))
		slow.expect(t, promptly(at(0, 10))...)
		fast.expect(t, promptly(at(0, 10), at(0, 20), at(0, 30))...)
	})
}

func TestStartAfterDowntime(t *testing.T) {
	last := func(missed uint64) Run {
		return Run{Job: "job", Started: at(-10, 0), Finished: at(-10, 1), Missed: missed}
	}
	cutOff := Run{Job: "job", Started: at(-10, 0), Missed: 2}
	for _, c := range []struct {
		story   string
		before  []Run // in the ledger; the agent starts at midnight
		spec    string
		catchUp bool
		want    []begun // until one o'clock
		missed  uint64
	}{
		{"a job never seen owes nothing", nil, "*/10 * * * *", true, promptly(at(0, 10), at(0, 20), at(0, 30), at(0, 40), at(0, 50)), 0},
		{"nothing missed, nothing made up for", []Run{last(2)}, "0 13 * * *", true, nil, 2},
		{"many missed are caught up once, for the last", []Run{last(2)}, "30 * * * *", true, []begun{{midnight, at(-1, 30)}, {at(0, 30), at(0, 30)}}, 12},
		{"or skipped, and counted all the same", []Run{last(2)}, "30 * * * *", false, promptly(at(0, 30)), 12},
		{"the time of the start itself is missed too", []Run{last(0)}, "@daily", true, promptly(midnight), 1},
		{"cut off: run again", []Run{cutOff}, "0 13 * * *", true, []begun{{midnight, at(-10, 0)}}, 2},
		{"cut off, where missed ones are skipped: run again", []Run{cutOff}, "45 23 * * *", false, []begun{{midnight, at(-10, 0)}}, 3},
		{"cut off and missed more: one run for all", []Run{cutOff}, "45 23 * * *", true, []begun{{midnight, at(-1, 45)}}, 3},
		{"seen and never run: owes since it was seen", []Run{{Job: "job", Finished: at(-2, 0)}}, "30 * * * *", true, []begun{{midnight, at(-1, 30)}, {at(0, 30), at(0, 30)}}, 2},
		{"last run in the future: the clock was wrong then", []Run{{Job: "job", Started: at(24000, 0), Finished: at(24000, 0)}}, "30 * * * *", true, promptly(at(0, 30)), 0},
		{"down for decades: a year is counted", []Run{{Job: "job", Started: date(1970, 1, 1), Finished: date(1970, 1, 1)}}, "@daily", true, promptly(midnight), 366},
	} {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w worker
				l := newShelf(c.before...)
				offline := New(quiet, l, w.job(t, c.spec, c.catchUp)).Plan()
				s, _ := begin(t, l, w.job(t, c.spec, c.catchUp))
				if p := s.Plan(); !p[0].Next.Equal(offline[0].Next) || p[0].Last.Missed != offline[0].Last.Missed {
					t.Errorf("planned %+v, and before the start %+v", p, offline)
				}
				sleepUntil(at(0, 59))
				w.expect(t, c.want...)
				if p := s.Plan()[0]; p.Last.Missed != c.missed {
					t.Errorf("%d missed, want %d", p.Last.Missed, c.missed)
				}
			})
		})
	}
}

func TestFirstSightIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w worker
		l := newShelf()
		_, stop := begin(t, l, w.job(t, "0 3 * * *", true))
		stop()
		sleepUntil(at(8, 0)) // down at three, before the job has run
		begin(t, l, w.job(t, "0 3 * * *", true))
		w.expect(t, begun{at(8, 0), at(3, 0)})
		if r := l.run("job"); r.Missed != 1 {
			t.Errorf("recorded %+v", r)
		}
	})
}

func TestRunCutOffByACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worker{takes: time.Minute}
		l := newShelf()
		_, stop := begin(t, l, w.job(t, "0 3 * * *", false))
		sleepUntil(at(3, 0).Add(time.Second))
		disk := l.asAfterACrash()
		stop()
		w.expect(t, promptly(at(3, 0))...)

		sleepUntil(at(4, 0))
		begin(t, disk, w.job(t, "0 3 * * *", false))
		sleepUntil(at(5, 0))
		w.expect(t, begun{at(4, 0), at(3, 0)})
		want := Run{Job: "job", Started: at(3, 0), Finished: at(4, 1)}
		if diff := cmp.Diff(want, disk.run("job")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestStopCutsOffAndJoinsItsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worker{takes: time.Hour}
		l := newShelf()
		_, stop := begin(t, l, w.job(t, "0 3 * * *", false))
		sleepUntil(at(3, 10))
		stop()
		if w.beside != 0 {
			t.Error("Run returned before its run did")
		}
		w.expect(t, promptly(at(3, 0))...)
		if r := l.run("job"); !r.Finished.IsZero() {
			t.Errorf("recorded as finished: %+v", r)
		}

		begin(t, l, w.job(t, "0 3 * * *", false))
		w.expect(t, begun{at(3, 10), at(3, 0)})
	})
}

func TestRunThatEndsWellDuringTheStopIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newShelf()
		_, stop := begin(t, l, Job{Name: "job", Schedule: mustParse(t, "0 3 * * *", "UTC"), Do: func(ctx context.Context, _ time.Time) error {
			<-ctx.Done()
			time.Sleep(time.Second) // finishing work in flight
			return nil
		}})
		sleepUntil(at(3, 0))
		stop()
		if r := l.run("job"); !r.Finished.Equal(at(3, 0).Add(time.Second)) {
			t.Errorf("recorded %+v", r)
		}
	})
}

func TestFailureIsLoggedAndTheJobGoesOn(t *testing.T) {
	failing := func(context.Context, time.Time) error { return errors.New("the moon is wrong") }
	panicking := func(context.Context, time.Time) error { panic("the moon is wrong") }
	for name, do := range map[string]func(context.Context, time.Time) error{"error": failing, "panic": panicking} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				runs, l := 0, newShelf()
				s := New(slog.New(slog.NewTextHandler(&out, nil)), l, Job{Name: "job", Schedule: mustParse(t, "@hourly", "UTC"),
					Do: func(ctx context.Context, at time.Time) error { runs++; return do(ctx, at) }})
				stop := started(t, s)
				sleepUntil(at(2, 30))
				stop()
				if got := strings.Count(out.String(), "level=ERROR"); runs != 2 || got != 2 {
					t.Errorf("%d runs, %d errors logged:\n%s", runs, got, &out)
				}
				if !strings.Contains(out.String(), "the moon is wrong") || !strings.Contains(out.String(), "job=job") {
					t.Errorf("the log does not say what happened to what:\n%s", &out)
				}
				if r := l.run("job"); r.Finished.IsZero() {
					t.Error("a failed run is left as if it were cut off")
				}
			})
		})
	}
}

// A failed run is recorded with its error, code and time. The record survives restarts and later runs in
// progress, until a run succeeds.
func TestAFailedRunIsNotRecordedAsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newShelf()
		var next atomic.Pointer[func() error] // result of the next run
		job := Job{Name: "job", Schedule: mustParse(t, "@hourly", "UTC"), Do: func(context.Context, time.Time) error {
			return (*next.Load())()
		}}
		does := func(f func() error) { next.Store(&f) }
		returns := func(err error, after time.Duration) {
			does(func() error { time.Sleep(after); return err })
		}
		check := func(hour int, failed uint64, code, text string) {
			t.Helper()
			sleepUntil(at(hour, 2))
			r := l.run("job")
			if r.Failed != failed || r.Code != code || r.Error != text || r.FailedAt.IsZero() != (code == "") {
				t.Errorf("at %d:02 the record is %+v, want %d failed, code %q, error %q", hour, r, failed, code, text)
			}
		}
		refused := fmt.Errorf("wrapped: %w", &Failure{"http_403", errors.New("refused\nand more")})
		returns(refused, time.Minute)
		_, stop := begin(t, l, job)
		check(1, 1, "http_403", "wrapped: refused")
		returns(refused, 30*time.Minute)
		check(2, 1, "http_403", "wrapped: refused") // the next run is in progress
		does(func() error { panic("no such thing") })
		sleepUntil(at(2, 50))
		stop()
		_, stop = begin(t, l, job)
		check(3, 3, CodePanic, "panic: no such thing")
		returns(errors.New("plain"), time.Minute)
		check(4, 4, CodeFailed, "plain")
		returns(nil, time.Minute)
		check(5, 4, "", "")
		stop()
	})
}

func TestFailingLedgerStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var w worker
		l := newShelf(Run{Job: "job", Started: at(-5, 0), Finished: at(-5, 0), Missed: 7})
		l.fail(errors.New("disk on fire"))
		s := New(slog.New(slog.NewTextHandler(&out, nil)), l, w.job(t, "0 3 * * *", true))
		stop := started(t, s)
		sleepUntil(at(2, 0))
		l.fail(nil)
		if r := l.run("job"); r.Missed != 7 {
			t.Errorf("the record that could not be read was overwritten with %+v", r)
		}
		l.fail(errors.New("disk on fire"))
		sleepUntil(at(27, 30))
		stop()
		w.expect(t, promptly(at(3, 0), at(27, 0))...)
		if got := strings.Count(out.String(), "disk on fire"); got != 5 { // one reading, two runs
			t.Errorf("logged %d times:\n%s", got, &out)
		}
	})
}

// clock is a wall clock that can be set without affecting timers.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off).Round(0)
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func TestClockIsSet(t *testing.T) {
	for _, c := range []struct {
		story   string
		spec    string
		catchUp bool
		set     time.Duration // at a quarter past two
		want    []time.Time   // scheduled times of the runs until 5:59 by the new clock
		missed  uint64
	}{
		{"forward, to just after a run was due", "0 4 * * *", false, 105 * time.Minute, []time.Time{at(4, 0)}, 0},
		{"forward, over times that are caught up", "*/30 3 * * *", true, 2 * time.Hour, []time.Time{at(3, 30)}, 2},
		{"forward, over times that are skipped", "*/30 3 * * *", false, 2 * time.Hour, nil, 2},
		{"back by seconds repeats nothing", "15 2 * * *", false, -5 * time.Second, []time.Time{at(2, 15)}, 0},
		{"back by hours: times come again", "15 2 * * *", false, -2 * time.Hour, []time.Time{at(2, 15), at(2, 15)}, 0},
	} {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w worker
				var clock clock
				s := New(quiet, newShelf(), w.job(t, c.spec, c.catchUp))
				s.now = clock.now
				started(t, s)
				sleepUntil(at(2, 15))
				clock.step(c.set)
				if c.set < 0 {
					s.wakeUp() // otherwise the sleep may last until the clock is back where it was
				}
				sleepUntil(at(5, 59).Add(-c.set))
				var got []time.Time
				for _, r := range w.runs {
					got = append(got, r.Scheduled)
					if late := r.At.Add(c.set).Sub(r.Scheduled); c.missed == 0 && r.At.After(at(2, 15)) && late > time.Minute {
						t.Errorf("%v ran %v late", r.Scheduled, late)
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("runs (-want +got):\n%s", diff)
				}
				if p := s.Plan()[0]; p.Last.Missed != c.missed {
					t.Errorf("%d missed, want %d", p.Last.Missed, c.missed)
				}
			})
		})
	}
}

func TestReplace(t *testing.T) {
	t.Run("a new schedule counts from now", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var w worker
			s, _ := begin(t, newShelf(), w.job(t, "0 1 * * *", true))
			sleepUntil(at(5, 31))
			s.Replace(w.job(t, "*/30 * * * *", true))
			sleepUntil(at(6, 10))
			w.expect(t, promptly(at(1, 0), at(6, 0))...)
			if p := s.Plan()[0]; p.Spec != "*/30 * * * *" || p.Last.Missed != 0 || !p.Next.Equal(at(6, 30)) {
				t.Errorf("planned %+v", p)
			}
		})
	})
	t.Run("between two looks at the clock, too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var w worker
			s, _ := begin(t, newShelf(), w.job(t, "0 7 * * *", true))
			sleepUntil(at(5, 30).Add(50 * time.Second))
			s.Replace(w.job(t, "@every 20s", true))
			sleepUntil(at(5, 31).Add(10 * time.Second))
			w.expect(t, promptly(at(5, 31))...)
		})
	})
	t.Run("a job taken away finishes, and put back never overlaps with itself", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, l := worker{takes: 2 * time.Hour}, newShelf()
			s, _ := begin(t, l, w.job(t, "@hourly", true))
			sleepUntil(at(1, 30))
			s.Replace()
			if len(s.Plan()) != 0 {
				t.Error("the job is still there")
			}
			sleepUntil(at(2, 30))
			s.Replace(w.job(t, "45 * * * *", false))
			sleepUntil(at(2, 55))
			w.expect(t, promptly(at(1, 0))...)
			sleepUntil(at(3, 46))
			w.expect(t, promptly(at(3, 45))...)
			if r := l.run("job"); !r.Started.Equal(at(3, 45)) || r.Missed != 1 { // 2:45 was missed; 2:00 was not in its schedule
				t.Errorf("recorded %+v", r)
			}
		})
	})
	t.Run("a job taken away in the middle of its run is recorded as finished", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, l := worker{takes: 10 * time.Minute}, newShelf()
			s, _ := begin(t, l, w.job(t, "@hourly", true))
			sleepUntil(at(1, 5))
			s.Replace()
			sleepUntil(at(4, 0))
			w.expect(t, promptly(at(1, 0))...)
			if r := l.run("job"); !r.Finished.Equal(at(1, 10)) {
				t.Errorf("recorded %+v", r)
			}
		})
	})
	t.Run("a job that is new owes nothing and is remembered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var w worker
			l := newShelf()
			s, _ := begin(t, l)
			sleepUntil(at(7, 30))
			s.Replace(w.job(t, "0 7 * * *", true))
			sleepUntil(at(8, 0))
			w.expect(t)
			if r := l.run("job"); !r.Finished.Equal(at(7, 30)) || !r.Started.IsZero() {
				t.Errorf("recorded %+v", r)
			}
		})
	})
	t.Run("before Run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var w, gone worker
			s := New(quiet, newShelf(), gone.job(t, "@hourly", true))
			s.Replace(w.job(t, "@hourly", true))
			started(t, s)
			sleepUntil(at(1, 30))
			w.expect(t, promptly(at(1, 0))...)
			gone.expect(t)
		})
	})
}

func TestPlanKeepsTheOrderAndTheZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(quiet, newShelf(Run{Job: "b", Started: at(-24, 0), Finished: at(-24, 1), Missed: 3}),
			Job{Name: "b", Schedule: mustParse(t, "@every 36h", "UTC")},
			Job{Name: "a", Schedule: mustParse(t, "30 2 * * *", "America/New_York")})
		want := []Planned{
			{Job: "b", Spec: "@every 36h", Last: Run{Job: "b", Started: at(-24, 0), Finished: at(-24, 1), Missed: 4}, Next: at(36, 0)},
			{Job: "a", Spec: "30 2 * * *", Next: mustTime(t, "2000-01-01T02:30:00-05:00")},
		}
		got := s.Plan()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if zone := got[1].Next.Location().String(); zone != "America/New_York" {
			t.Errorf("told in %s", zone)
		}
	})
}

func TestPlanWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worker{takes: 90 * time.Minute}
		s, _ := begin(t, newShelf(), w.job(t, "@hourly", true))
		sleepUntil(at(2, 10))
		want := []Planned{{Job: "job", Spec: "@hourly", Last: Run{Job: "job", Started: at(1, 0), Missed: 1}, Running: true, Next: at(3, 0)}}
		if diff := cmp.Diff(want, s.Plan()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRunIsForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := begin(t, newShelf())
		stop()
		if err := s.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}
	})
}

func TestOfTwoJobsWithOneNameTheLastCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var first, last worker
		s := New(slog.New(slog.NewTextHandler(&out, nil)), newShelf(), first.job(t, "@hourly", true), last.job(t, "@hourly", true))
		stop := started(t, s)
		sleepUntil(at(1, 30))
		stop()
		first.expect(t)
		last.expect(t, promptly(at(1, 0))...)
		if !strings.Contains(out.String(), "two jobs have the same name") {
			t.Errorf("logged %s", &out)
		}
	})
}

// Across any stops and crashes, every scheduled time since the job was first seen either had a run of its own
// or is counted as missed, never both.
func TestEveryTimeIsRunOrMissed(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			catchUp := seed%2 == 0
			disk := newShelf()
			own := make(map[time.Time]bool)
			var now Planned
			for range 12 {
				// The extra millisecond keeps a run from ending exactly when the next is due, which would count
				// as both.
				w := worker{takes: time.Duration(rng.IntN(20))*time.Minute + time.Millisecond}
				s, stop := begin(t, disk, w.job(t, "*/7 * * * *", catchUp))
				sleepUntil(time.Now().Add(time.Duration(1+rng.IntN(3600)) * time.Second))
				now = s.Plan()[0]
				if rng.IntN(2) == 0 {
					disk = disk.asAfterACrash()
				}
				stop()
				for _, r := range w.runs {
					own[r.Scheduled] = own[r.Scheduled] || r.At.Equal(r.Scheduled)
				}
				time.Sleep(time.Duration(rng.IntN(3600)) * time.Second)
			}
			// The last process's count includes those of its predecessors.
			want := uint64(0)
			for at := midnight.Add(time.Minute); at.Before(now.Next); at = at.Add(time.Minute) {
				if at.Minute()%7 == 0 {
					want++
				}
			}
			for at, prompt := range own {
				if prompt && at.Before(now.Next) {
					want--
				}
			}
			if now.Last.Missed != want {
				t.Errorf("seed %d: %d missed, want %d", seed, now.Last.Missed, want)
			}
		})
	}
}
