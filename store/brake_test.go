package store

import (
	"context"
	"slices"
	"testing"
	"time"
)

// host is what senders and apply do with its disk and processors. Senders send their next event once the
// last is acknowledged; apply works in batches and rests as it does in life. Records a second.
type host struct {
	quick  float64 // received while apply rests
	beside float64 // received while it works
	slow   float64 // applied while that many are received
	alone  float64 // applied while nothing is
}

var (
	empty   = host{quick: 27_000, beside: 13_000, slow: 18_000, alone: 34_000} // nothing stored; see docs/BENCHMARKS.md
	full    = host{quick: 25_000, beside: 13_000, slow: 10_000, alone: 16_000} // 20 million users
	old     = host{quick: 13_000, beside: 8_000, slow: 6_000, alone: 15_000}   // half as fast, nothing stored
	oldFull = host{quick: 13_000, beside: 8_000, slow: 3_000, alone: 7_000}
	bogged  = host{quick: 10_000, beside: 8_000, slow: 100, alone: 400}
)

// road is a store as the brake sees it.
type road struct {
	host
	k        brake
	now      time.Time
	received float64
	applied  float64
	stamps   []stamp
	ages     []time.Duration // of the oldest record that waits, at each second
	turns    int
}

// stamp says when so many were received.
type stamp struct {
	received float64
	at       time.Time
}

// age is how long the oldest record has waited.
func (r *road) age() time.Duration {
	for len(r.stamps) > 1 && r.stamps[1].received <= r.applied {
		r.stamps = r.stamps[1:]
	}
	if len(r.stamps) == 0 || r.received-r.applied < 1 {
		return 0
	}
	return r.now.Sub(r.stamps[0].at)
}

// receive has senders send for a while, as many a second as they get rid of and at most as many as come,
// and returns how many that was.
func (r *road) receive(most, come float64, long time.Duration) (count float64) {
	const group = 64
	for end := r.now.Add(long); r.now.Before(end); {
		took := time.Duration(group / min(most, come) * float64(time.Second))
		r.now = r.now.Add(max(took, r.k.pause(r.now)))
		r.received, count = r.received+group, count+group
		r.k.received(group, r.now)
		r.stamps = append(r.stamps, stamp{r.received, r.now})
		if second := int(r.now.Sub(noon) / time.Second); second >= len(r.ages) {
			r.ages = append(r.ages, r.age())
		}
	}
	return count
}

// drive has at most so many records come a second, for as long.
func (r *road) drive(come float64, long time.Duration) {
	const work = 50 * time.Millisecond // a batch
	for end := r.now.Add(long); r.now.Before(end); {
		began := r.now
		came := r.receive(r.beside, come, work)
		took := r.now.Sub(began)
		share := came / took.Seconds() / r.beside
		apply := r.alone - (r.alone-r.slow)*min(share, 1)
		r.applied = min(r.applied+apply*took.Seconds(), r.received)
		age := r.age()
		if r.k.learn(uint64(r.applied), uint64(r.received-r.applied), age, r.now) {
			r.turns++
		}
		r.receive(r.quick, come, restOf(took, age, true))
	}
}

func newRoad(h host) *road { return &road{host: h, now: noon} }

const flood = 1e9

func TestABurstIsNotBraked(t *testing.T) {
	for _, h := range []host{empty, full, old, oldFull, bogged} {
		r := newRoad(h)
		if r.drive(flood, 30*time.Second); r.turns > 0 {
			t.Errorf("%+v: the brake was put on within half a minute", h)
		}
	}
}

// TestALoadThatStaysIsBraked: the lag comes to where it is meant to be, and stays there. What came before
// the brake was on takes a host that is slow enough many minutes.
func TestALoadThatStaysIsBraked(t *testing.T) {
	for _, h := range []host{full, old, oldFull, bogged} {
		r := newRoad(h)
		r.drive(flood, 40*time.Minute)
		last := r.ages[len(r.ages)-5*60:]
		if slices.Min(last) < patience || slices.Max(last) > brakeLag+time.Second {
			t.Errorf("%+v: records wait for %v to %v, in the end", h, slices.Min(last), slices.Max(last))
		}
		if r.turns != 1 || !r.k.on() {
			t.Errorf("%+v: the brake turned %d times", h, r.turns)
		}
	}
}

// TestApplyThatKeepsUpWithoutRestsIsNotHelped: there the rests alone keep the lag.
func TestApplyThatKeepsUpWithoutRestsIsNotHelped(t *testing.T) {
	r := newRoad(empty)
	if r.drive(flood, 40*time.Minute); r.turns > 0 {
		t.Errorf("the brake turned %d times", r.turns)
	}
}

// TestABacklogThatShrinksIsNotBraked: as after an outage of the state, and beside a load that apply can bear.
func TestABacklogThatShrinksIsNotBraked(t *testing.T) {
	r := newRoad(empty)
	r.receive(200_000, flood, 5*time.Second)
	r.now = r.now.Add(time.Minute)
	if r.drive(flood, 10*time.Minute); r.turns > 0 {
		t.Errorf("the brake turned %d times", r.turns)
	}
}

func TestTheBrakeIsLetGoWhenTheLoadIsOver(t *testing.T) {
	for name, over := range map[string]func(r *road){
		"less comes": func(r *road) { r.drive(1_000, 10*time.Minute) },
		"nothing comes": func(r *road) {
			r.now = r.now.Add(time.Minute)
			r.k.learn(uint64(r.received), 0, 0, r.now)
		},
		"nothing could be applied": func(r *road) { // its rate of before says nothing
			r.now = r.now.Add(time.Minute)
			r.k.learn(uint64(r.applied), uint64(r.received-r.applied), r.age(), r.now)
		},
	} {
		r := newRoad(oldFull)
		r.drive(flood, 3*time.Minute)
		if !r.k.on() {
			t.Fatalf("%s: it was never on", name)
		}
		if over(r); r.k.on() || r.k.pause(r.now) > 0 {
			t.Errorf("%s: it is still on", name)
		}
	}
}

// TestOrdersHaveNoEventWait: an import beside events is not their load.
func TestOrdersHaveNoEventWait(t *testing.T) {
	in, err := openInbox(t.TempDir(), 1, 1)
	must(t, err)
	defer in.close()
	in.brake.rate.Store(brakeLeast)
	frame := appendEvent(nil, event("ann", "vip", true, 0))
	must(t, in.appendOther(context.Background(), frame, frame, frame))
	if pause := in.brake.pause(time.Now()); pause > 0 {
		t.Errorf("what comes behind an order waits %v", pause)
	}
	frames := slices.Repeat([][]byte{frame}, 100)
	must(t, in.append(context.Background(), frames...))
	if pause := in.brake.pause(time.Now()); pause <= 0 {
		t.Error("what comes behind 100 events at 100 a second does not wait")
	}
}

// TestABrakedCommitTakesNoMoreThanItsPause: else arrays from many senders would come in commits so large that
// the longest pause is too short for them.
func TestABrakedCommitTakesNoMoreThanItsPause(t *testing.T) {
	in, err := openInbox(t.TempDir(), 1, 1)
	must(t, err)
	defer in.close()
	frame := appendEvent(nil, event("ann", "vip", true, 0))
	of60 := func() *appendRequest {
		return &appendRequest{frames: slices.Repeat([][]byte{frame}, 60), events: 60, done: make(chan error, 1)}
	}
	for _, c := range []struct{ rate, left int64 }{{100, 1}, {0, 0}} {
		in.brake.rate.Store(c.rate)
		in.turn.Lock()
		for range 3 {
			must(t, in.enqueue(of60()))
		}
		in.commitOnce()
		left := len(in.requests)
		in.brake.rate.Store(0)
		in.commitOnce()
		in.turn.Unlock()
		if int64(left) != c.left {
			t.Errorf("a commit at %d events a second left %d of 3 requests of 60, want %d", c.rate, left, c.left)
		}
	}
}
