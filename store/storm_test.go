package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
)

// ward is a model of one guarded audience: who is a member, and who left in the window.
type ward struct {
	words map[string]*word
	left  map[string]bool
	most  int
	trip  bool
}

func (w *ward) members() (n int) {
	for _, u := range w.words {
		if u.in {
			n++
		}
	}
	return n
}

func (w *ward) hear(user string, at int, in bool, g domain.Guard, guarded bool) {
	u := w.words[user]
	if u == nil {
		u = &word{at: -1}
		w.words[user] = u
	}
	was := u.in
	u.hear(at, in)
	w.most = max(w.most, w.members())
	switch {
	case was && !u.in && guarded:
		w.left[user] = true
		n := len(w.left)
		if uint64(n) >= g.Count && float64(n) > g.Share*float64(w.most) {
			w.trip = true
		}
	case u.in:
		delete(w.left, user)
	}
}

func (w *ward) begin() { w.left, w.trip, w.most = map[string]bool{}, false, w.members() }

func (w *ward) discard() {
	if w.trip {
		for user := range w.left {
			w.words[user].move(true)
			w.words[user].at++
		}
	}
	w.begin()
}

// TestTheGuardAgainstAModel throws exits, returns, lost requests, restarts and decisions, some of them cut
// short, at a guarded audience, and compares who is a member, and what MoEngage holds, with a model.
func TestTheGuardAgainstAModel(t *testing.T) {
	costly(t, manySeeds)
	for _, seed := range seeds(6, 300) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runStorm(t, rand.New(rand.NewPCG(uint64(seed), 77)))
		})
	}
}

func runStorm(t *testing.T, rnd *rand.Rand) {
	send := []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendCohort, domain.SendList, domain.SendBoth | domain.SendCohort | domain.SendList}[rnd.IntN(6)]
	r := rules(send)
	r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: 1000000 * time.Hour}
	r.Defaults.Collapse = rnd.IntN(2) == 0
	b, them := open(t, r), newMoengage()
	them.guarded = true
	w := &ward{words: map[string]*word{}}
	w.begin()
	ctx := context.Background()
	const people = 7
	name := func() string { return fmt.Sprint("user", rnd.IntN(people)) }
	cut, base, clock := false, 0, time.Now()
	for range 150 {
		switch n := rnd.IntN(20); {
		case n < 8:
			base++
			for range 1 + rnd.IntN(4) {
				user, at, in := name(), max(0, base-rnd.IntN(6)), rnd.IntN(3) > 0
				must(t, b.Append(ctx, event(user, "vip", in, at)))
				w.hear(user+".vip", at*moment, in, r.Guard, true)
			}
		case n < 14:
			clock = clock.Add(time.Duration(rnd.IntN(3)) * time.Second)
			flyOnce(b, rnd, clock, them)
		case n < 15:
			must(t, b.Applied(ctx))
			b.reopen(r)
		case n < 16 && !cut:
			must(t, b.Applied(ctx))
			b.swept()
			rep, err := b.Decide(ctx, "vip", false, false, nil)
			if errors.Is(err, domain.ErrNotFound) {
				continue
			}
			must(t, err)
			if rep.Tripped != w.trip {
				t.Fatalf("release: tripped %v, want %v", rep.Tripped, w.trip)
			}
			w.begin()
		case n < 18:
			must(t, b.Applied(ctx))
			rep, err := b.Decide(ctx, "vip", true, false, nil)
			if errors.Is(err, domain.ErrNotFound) {
				continue
			}
			must(t, err)
			if rep.Tripped != w.trip {
				t.Fatalf("discard: tripped %v, want %v (left %d of %d)", rep.Tripped, w.trip, len(w.left), w.most)
			}
			w.discard()
			cut = false
		case n < 19 && w.trip && !cut:
			must(t, b.Applied(ctx))
			discard := b.orderOn("vip", record.Order{Verb: record.OrderDiscard, Received: time.Now()})
			b.order(record.AppendOrder(nil, discard))
			for range rnd.IntN(3) {
				o := *discard
				o.Targets = []record.JobTarget{{User: name(), In: true}}
				b.order(record.AppendOrder(nil, &o))
			}
			b.wantCounted()
			if rnd.IntN(2) == 0 {
				b.reopen(r)
			}
			w.discard()
			cut = true
		default:
			at, listed := max(0, base-rnd.IntN(4)), map[string]bool{}
			var ids []string
			adds := rnd.IntN(2) == 0 // users have no order within a list: one that adds and removes may trip, or not
			for u := range people {
				id := fmt.Sprint("user", u)
				known := w.words[id+".vip"]
				if in, some := known != nil && known.in, rnd.IntN(3) > 0; adds && (in || some) || in && some {
					ids, listed[id] = append(ids, id), true
				}
			}
			must(t, b.Applied(ctx))
			b.imports(Import{Key: "vip", AsOf: minute(at), Users: users(ids...), Create: true, Events: rnd.IntN(2) == 0})
			for u := range people {
				user := fmt.Sprintf("user%d.vip", u)
				if w.words[user] == nil && !listed[user[:5]] {
					continue
				}
				w.hear(user, at*moment, listed[user[:5]], r.Guard, true)
			}
		}
	}
	b.wantCounted()
	if cut {
		rep, err := b.Decide(ctx, "vip", true, false, nil)
		must(t, err)
		_ = rep
		w.discard()
	}
	b.swept()
	release(b, "vip")
	w.begin()
	b.tell(them)
	compare(t, b, send, w.words, them)
}
