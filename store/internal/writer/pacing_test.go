package writer

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func TestAPortionIsSmallWhileSomebodyPostsUnlessTheLoadLasts(t *testing.T) {
	var p pacing
	step := func(after time.Duration, m progress, want int) {
		t.Helper()
		if p.adapt(noon.Add(after), m); p.portion() != want {
			t.Errorf("%v: %+v: %d bytes, want %d", after, m, p.portion(), want)
		}
	}
	if p.portion() != portionLeast {
		t.Errorf("it begins with %d", p.portion())
	}
	step(0, progress{waited: tooLong}, portionLeast)
	step(time.Second, progress{alone: true, waited: tooLong}, portionMost)
	step(2*time.Second, progress{waited: tooLong}, portionLeast)
	step(burst, progress{waited: tooLong}, portionLeast)
	step(2*time.Second+burst, progress{waited: tooLong}, portionMost)
	step(3*time.Second+burst, progress{waited: patience / 2}, portionMost)
	step(4*time.Second+burst, progress{waited: patience/2 - 1}, portionLeast)
}

func TestApplyRestsLessTheLongerItIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			waited time.Duration // of the oldest record that is not applied
			rest   time.Duration // after a batch of 10 ms
		}{
			{0, 190 * time.Millisecond},
			{patience / 2, 95 * time.Millisecond},
			{patience * 19 / 20, minRest},
			{patience, minRest},
			{time.Hour, minRest},
			{-time.Hour, 190 * time.Millisecond}, // the clock was set back
		} {
			w := &Writer{apply: applier{reached: time.Now().Add(-c.waited)}}
			if rest := w.restAfter(10*time.Millisecond, 10); rest != c.rest {
				t.Errorf("%v behind it rests %v, want %v", c.waited, rest, c.rest)
			}
			w.apply.pacing.lasts = true
			if rest := w.restAfter(10*time.Millisecond, 10); (rest == 0) != (c.waited >= patience) {
				t.Errorf("%v behind for long it rests %v", c.waited, rest)
			}
		}
	})
}

// host is what senders and apply do with its disk and processors, records a second. Each of its senders
// sends its next event once the last is acknowledged.
type host struct {
	senders float64
	quick   float64 // received while apply rests
	beside  float64 // received while it works
	slow    float64 // applied while so many are received
	alone   float64 // applied while nothing is
}

var (
	empty   = host{64, 27_000, 13_000, 18_000, 34_000} // nothing stored; see docs/BENCHMARKS.md
	full    = host{64, 25_000, 13_000, 10_000, 16_000} // 20 million users
	oldFull = host{64, 13_000, 8_000, 3_000, 7_000}    // half as fast
	crowded = host{4_000, 25_000, 13_000, 10_000, 16_000}
	hosts   = []host{empty, full, oldFull, crowded}
)

// endpoint is a store as pacing sees it.
type endpoint struct {
	host     host
	pacing   pacing
	now      time.Time
	received float64
	applied  float64
	commits  float64
	stamps   []stamp
	ages     []time.Duration // of the oldest record that waits, after each batch
	widest   time.Duration   // that commits were apart
}

// stamp says when so many were received.
type stamp struct {
	received float64
	at       time.Time
}

func (r *endpoint) age() time.Duration {
	for len(r.stamps) > 1 && r.stamps[1].received <= r.applied {
		r.stamps = r.stamps[1:]
	}
	if len(r.stamps) == 0 || r.received-r.applied < 1 {
		return 0
	}
	return r.now.Sub(r.stamps[0].at)
}

// receive has senders send for a while, as many a second as the host can take and at most as many as come.
// Half of them find room in a commit; all of them do when it waits for them.
func (r *endpoint) receive(most, come float64, long time.Duration) (count float64) {
	rate := min(most, come)
	interval := r.host.senders / 2 / rate
	if r.pacing.apart.Seconds() > interval {
		interval = r.pacing.apart.Seconds()
		rate = min(rate, r.host.senders/interval)
	}
	count = rate * long.Seconds()
	r.now = r.now.Add(long)
	r.received, r.commits = r.received+count, r.commits+long.Seconds()/interval
	r.stamps = append(r.stamps, stamp{r.received, r.now})
	return count
}

// drive has at most so many records come a second, for as long.
func (r *endpoint) drive(come float64, long time.Duration) {
	const work = 50 * time.Millisecond // a batch
	for end := r.now.Add(long); r.now.Before(end); {
		share := r.receive(r.host.beside, come, work) / work.Seconds() / r.host.beside
		r.applied = min(r.applied+(r.host.alone-(r.host.alone-r.host.slow)*share)*work.Seconds(), r.received)
		age := r.age()
		r.pacing.adapt(r.now, progress{false, uint64(r.received - r.applied), age, uint64(r.commits)})
		r.ages, r.widest = append(r.ages, age), max(r.widest, r.pacing.apart)
		if rest := r.pacing.rest(work, age); rest > 0 {
			r.receive(r.host.quick, come, rest)
		}
	}
}

func newRoad(h host) *endpoint { return &endpoint{host: h, now: noon} }

const flood = 1e9

// TestABurstIsNotSlowedDown: it has half a minute.
func TestABurstIsNotSlowedDown(t *testing.T) {
	for _, h := range hosts {
		r := newRoad(h)
		if r.drive(flood, 30*time.Second); r.widest > 0 {
			t.Errorf("%+v: commits were %v apart", h, r.widest)
		}
	}
}

// TestTheLagOfALoadThatStaysIsBounded: a host that is slow enough takes minutes for what came before.
func TestTheLagOfALoadThatStaysIsBounded(t *testing.T) {
	for _, h := range hosts {
		r := newRoad(h)
		r.drive(flood, 10*time.Minute)
		before := len(r.ages)
		r.drive(flood, 20*time.Minute)
		if worst := slices.Max(r.ages[before:]); worst > 20*time.Second {
			t.Errorf("%+v: records wait for up to %v, in the end", h, worst)
		}
	}
}

// TestALoadThatApplyCanBearIsAppliedWithinSeconds: rests gather records, and do not make changes late.
func TestALoadThatApplyCanBearIsAppliedWithinSeconds(t *testing.T) {
	for _, h := range hosts {
		r := newRoad(h)
		r.drive(h.slow/2, 5*time.Minute)
		if worst := slices.Max(r.ages); worst > 4500*time.Millisecond {
			t.Errorf("%+v: records wait for up to %v", h, worst)
		}
	}
}

// TestApplyThatKeepsUpWithoutRestsIsNotHelped: there the rests alone keep the lag.
func TestApplyThatKeepsUpWithoutRestsIsNotHelped(t *testing.T) {
	r := newRoad(empty)
	if r.drive(flood, 40*time.Minute); r.widest > 0 {
		t.Errorf("commits were %v apart", r.widest)
	}
}

// TestABacklogThatShrinksSlowsNobodyDown: as after an outage of the state, and beside a load that apply can bear.
func TestABacklogThatShrinksSlowsNobodyDown(t *testing.T) {
	r := newRoad(empty)
	r.receive(200_000, flood, 5*time.Second)
	r.now = r.now.Add(time.Minute)
	if r.drive(flood, 10*time.Minute); r.widest > 0 {
		t.Errorf("commits were %v apart", r.widest)
	}
}

func TestCommitsAreNotKeptApartOnceTheLoadIsOver(t *testing.T) {
	for name, over := range map[string]func(r *endpoint){
		"less comes":    func(r *endpoint) { r.drive(1_000, 10*time.Minute) },
		"nothing comes": func(r *endpoint) { r.pacing.adapt(r.now, progress{alone: true, lag: 1_000, waited: time.Hour}) },
		"nothing comes, and apply is long behind": func(r *endpoint) {
			for range 10 {
				r.now = r.now.Add(tooLong)
				r.pacing.adapt(r.now, progress{alone: true, lag: 1_000, waited: time.Hour})
			}
		},
		"applied": func(r *endpoint) { r.pacing.adapt(r.now, progress{waited: patience/2 - 1}) },
	} {
		r := newRoad(oldFull)
		r.drive(flood, 3*time.Minute)
		if r.pacing.apart == 0 {
			t.Fatalf("%s: they never were", name)
		}
		if over(r); r.pacing.apart > 0 {
			t.Errorf("%s: they are %v apart", name, r.pacing.apart)
		}
	}
}

// TestTheWriterKeepsCommitsApart: what pacing says reaches the inbox, and is taken back.
func TestTheWriterKeepsCommitsApart(t *testing.T) {
	w := newWriter(t)
	long := time.Now().Add(-time.Hour)
	must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, new(domain.Event))))
	w.apply.reached, w.apply.pacing = long, pacing{since: long, late: long}
	if w.pace(false); w.inbox.CommitInterval() != widest {
		t.Errorf("commits are %v apart, want %v", w.inbox.CommitInterval(), widest)
	}
	if w.pace(true); w.inbox.CommitInterval() != 0 {
		t.Error("commits are kept apart when nothing comes")
	}
}
