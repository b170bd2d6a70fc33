package store

import (
	"context"
	"slices"
	"testing"
	"time"
)

// road is a store as the brake sees it: records come as fast as they may, and are applied at a rate of
// their own, in batches.
type road struct {
	k        brake
	now      time.Time
	received float64
	applied  float64
	behind   []time.Duration // at the end of each second
	turns    int
}

// drive has records come and be applied, so many a second, for as long.
func (r *road) drive(come, apply float64, long time.Duration) {
	const step = 200 * time.Millisecond
	r.behind = nil
	for end := r.now.Add(long); r.now.Before(end); {
		last := r.now
		for next := last.Add(step); r.now.Before(next); {
			const group = 64
			r.now = r.now.Add(time.Duration(group / come * float64(time.Second)))
			if pause := r.k.pause(r.now); pause > 0 {
				r.now = r.now.Add(pause)
			}
			r.received += group
			r.k.received(group, r.now)
		}
		r.applied = min(r.applied+apply*r.now.Sub(last).Seconds(), r.received)
		waiting := r.received - r.applied
		age := time.Duration(waiting / come * float64(time.Second))
		if r.k.learn(uint64(r.applied), uint64(waiting), age, r.now) {
			r.turns++
		}
		if len(r.behind) < int(long.Seconds()-end.Sub(r.now).Seconds()) {
			r.behind = append(r.behind, time.Duration(waiting/apply*float64(time.Second)))
		}
	}
}

func TestABurstIsNotBraked(t *testing.T) {
	r := &road{now: noon}
	if r.drive(10_000, 2_000, 30*time.Second); r.turns > 0 {
		t.Error("the brake was put on within half a minute")
	}
}

// TestALoadThatStaysIsBraked: the lag comes to where it is meant to be, and stays there.
func TestALoadThatStaysIsBraked(t *testing.T) {
	for _, apply := range []float64{500, 2_000, 9_000} {
		r := &road{now: noon}
		r.drive(10_000, apply, 30*time.Minute)
		for _, behind := range r.behind[len(r.behind)-300:] {
			if behind < brakeLag/2 || behind > brakeLag*2 {
				t.Fatalf("applied %v a second: it is %v behind, minutes later", apply, behind)
			}
		}
		if r.turns != 1 || !r.k.on() {
			t.Errorf("applied %v a second: the brake turned %d times", apply, r.turns)
		}
	}
}

func TestTheBrakeIsLetGoWhenTheLoadIsOver(t *testing.T) {
	for name, over := range map[string]func(r *road){
		"less comes": func(r *road) { r.drive(1_000, 2_000, 10*time.Minute) },
		"nothing comes": func(r *road) {
			r.now = r.now.Add(time.Minute)
			r.k.learn(uint64(r.received), 0, 0, r.now)
		},
	} {
		r := &road{now: noon}
		r.drive(10_000, 2_000, 2*time.Minute)
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
