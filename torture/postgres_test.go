package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// attack breaks something, and heals it.
type attack struct {
	name string
	do   func(f *fleet)
}

// attacks are what a fleet survives. Each heals what it broke, but does not wait until the agents have recovered: the
// next one may meet them at it.
var attacks = []attack{
	{"the writer is killed", func(f *fleet) { f.kill(f.writer()) }},
	{"a door is killed", func(f *fleet) { f.kill(f.door()) }},
	{"the primary is lost", func(f *fleet) { f.losePrimary(func() {}) }},
	{"the writer and the primary are lost", func(f *fleet) {
		w := f.writer()
		f.losePrimary(func() { f.kill(w) })
	}},
	{"the primary stands still, is replaced, and goes on", (*fleet).replacePrimary},
	{"all agents are killed", func(f *fleet) {
		for _, m := range f.agents {
			f.kill(m)
		}
	}},
	{"the writer is frozen during a request", (*fleet).freezeWriter},
	{"the writer is cut off", func(f *fleet) { f.partition(f.writer(), cut, cut) }},
	{"the writer is cut off half-way", func(f *fleet) { f.partitionHalfway(f.writer()) }},
	{"a door is cut off half-way", func(f *fleet) { f.partitionHalfway(f.door()) }},
	{"the standby stops", func(f *fleet) { f.withoutStandby(func() {}) }},
	{"waits for the standby are cancelled", func(f *fleet) { f.withoutStandby(f.cancelWaits) }},
	{"a rolling upgrade", (*fleet).upgrade},
}

// TestPostgres has three agents share a store in a primary and a synchronous standby while each attack happens once, in
// two runs. Everything that was answered 200 must arrive in order, nothing but what was in flight arrives twice, and the
// ledgers balance.
func TestPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	p := planned(t, 2, 20)
	var ran atomic.Int64
	t.Cleanup(func() { p.did(t, int(ran.Load())) })
	for i := range uint64(p.count) {
		seed := p.seed + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if time.Now().After(p.until) {
				t.Skip("the time box is over")
			}
			ran.Add(1)
			order := rand.New(rand.NewPCG(p.seed+i/2, 11)).Perm(len(attacks)) // of two runs, which share the attacks
			half := len(order) / 2
			order = [][]int{order[:half], order[half:]}[i%2]
			if err := newFleet(t, product, seed).survive(order); err != nil {
				t.Error(err)
			}
		})
	}
}

// A writer that stood still is kept from writing on beside the next one by two things: its own clock, and the fence. These
// builds have neither, or a clock that stood still, too, as that of a virtual machine which is paused.
var (
	noClock = edit{"../store/postgres/term.go", "until := sent.Add(t.db.TTL - t.db.TTL/5)", "until := sent.Add(time.Hour)"}
	noFence = []edit{noClock, {"../store/postgres/term.go", "\tlocked := false\n", "\tlocked := true\n"},
		{"../store/postgres/term.go", "if err == nil && until == 0 {\n\t\terr = fmt", "if err == nil && until == 0 && t == nil {\n\t\terr = fmt"}}
)

// TestPostgresWhenAClockStandsStill has the fence alone protect the state.
func TestPostgresWhenAClockStandsStill(t *testing.T) {
	if err := freezeWriters(t, noClock); err != nil {
		t.Error(err)
	}
}

// TestPostgresNoticesAMissingFence: a test that cannot fail proves nothing.
func TestPostgresNoticesAMissingFence(t *testing.T) {
	err := freezeWriters(t, noFence...)
	if err == nil {
		t.Fatal("without a fence nothing was wrong")
	}
	t.Logf("without a fence, as it must be: %s", brief(err))
}

// freezeWriters has an agent that was changed survive that its writer stands still, twice.
func freezeWriters(t *testing.T, changes ...edit) error {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	p := planned(t, 1, 1)
	f := newFleet(t, patched(t, changes...), p.seed)
	f.patience = 12 * time.Second // what is broken never ends
	freeze := slices.IndexFunc(attacks, func(a attack) bool { return strings.Contains(a.name, "frozen") })
	return f.survive([]int{freeze, freeze})
}

// survive has the attacks happen under load, and judges.
func (f *fleet) survive(list []int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	wait := f.load(ctx)
	for _, n := range list {
		time.Sleep(time.Duration(f.rnd.IntN(2000)) * time.Millisecond)
		began := time.Now()
		attacks[n].do(f)
		f.t.Logf("%s: %s, for %s", began.Format(time.StampMilli), attacks[n].name, time.Since(began).Round(10*time.Millisecond))
	}
	time.Sleep(time.Second)
	cancel()
	err := wait()
	f.healing.Wait()
	if err != nil {
		return err
	}
	return f.judge()
}

// kill ends an agent as the loss of its host does. It is there again after a second.
func (f *fleet) kill(m *member) {
	f.lost("a kill", m.number)
	f.check(m.end(syscall.SIGKILL))
	m.later(m.begin)
}

// losePrimary ends the primary as the loss of its host does, and something else at the same time. The standby is promoted,
// and later gets a standby.
func (f *fleet) losePrimary(also func()) {
	f.lost("the loss of the primary", -1)
	f.pair.Primary.Kill(f.t)
	also()
	f.pause(1500)
	f.pair.Standby.Promote(f.t)
	f.pause(4000)
	f.pair.Return(f.t)
}

// replacePrimary has the primary stand still until its standby is promoted. Then there are two for a while, of which the
// old one has no standby that would confirm a commit.
func (f *fleet) replacePrimary() {
	f.lost("the freeze of the primary", -1)
	f.pair.Primary.Freeze(f.t)
	f.pause(3000)
	f.pair.Standby.Promote(f.t)
	f.pause(1500)
	f.pair.Primary.Thaw(f.t)
	f.pause(4000)
	f.lost("the end of the old primary", -1)
	f.pair.Primary.Kill(f.t)
	f.pair.Return(f.t)
}

// freezeWriter stops the writer while MoEngage has its request, until another agent has taken over. The answer is there
// when it goes on.
func (f *fleet) freezeWriter() {
	w := f.writer()
	release := f.witness.hold(w.number)
	defer release()
	for wait := 0; ; wait++ {
		if n, _ := f.witness.open(w.number); n > 0 {
			break
		}
		if wait == 500 {
			f.t.Log("the writer sent nothing")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.lost("a freeze", w.number)
	w.freeze(syscall.SIGSTOP)
	for deadline := time.Now().Add(patience); f.writer() == w && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	f.pause(1500)
	if f.rnd.IntN(2) == 0 {
		release()
	}
	f.lost("a thaw", w.number)
	w.freeze(syscall.SIGCONT)
	f.pause(200)
}

// partition has bytes between an agent and the database meet a fate for a time, in which other things may happen.
func (f *fleet) partition(m *member, up, down fate) {
	f.lost(fmt.Sprintf("a partition: bytes to the database %s, those from it %s", up, down), m.number)
	m.wire.set(up, down)
	long := time.Duration(f.rnd.Int64N(int64(3 * fleetTerm)))
	f.healing.Go(func() {
		time.Sleep(long)
		m.wire.set(arrive, arrive)
		f.lost("the end of a partition", m.number)
	})
}

// partitionHalfway has bytes be late or lost, one way or both.
func (f *fleet) partitionHalfway(m *member) {
	kinds := [][2]fate{{swallow, swallow}, {arrive, swallow}, {swallow, arrive}, {late, late}, {arrive, late}, {late, arrive}}
	kind := kinds[f.rnd.IntN(len(kinds))]
	f.partition(m, kind[0], kind[1])
}

// withoutStandby stops the standby for a time, in which no commit is confirmed.
func (f *fleet) withoutStandby(meanwhile func()) {
	f.lost("the stop of the standby", -1)
	f.pair.Standby.Stop(f.t)
	f.pause(1000)
	meanwhile()
	f.pause(3000)
	f.pair.Standby.Start(f.t)
	f.lost("the start of the standby", -1)
}

// cancelWaits ends the wait of commits for the standby. PostgreSQL tells the client of success, with a warning.
func (f *fleet) cancelWaits() {
	n := 0
	for range 5 {
		n += len(strings.Fields(f.pair.Primary.SQL(f.t, "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")))
		f.pause(500)
	}
	f.t.Logf("%d waits cancelled", n)
}

// upgrade stops and starts one agent after the other, as a new version is rolled out.
func (f *fleet) upgrade() {
	f.healing.Wait() // nobody upgrades what is broken
	for _, m := range f.agents {
		f.check(m.ready())
	}
	for _, m := range f.agents {
		f.lost("a stop", m.number)
		f.check(m.end(syscall.SIGTERM))
		f.check(m.begin())
		f.check(m.ready())
	}
}

func (f *fleet) check(err error) {
	if err != nil {
		f.t.Error(err)
	}
}

// pause waits at most that many milliseconds.
func (f *fleet) pause(most int) { time.Sleep(time.Duration(f.rnd.IntN(most)) * time.Millisecond) }

// judge waits until all is delivered, and compares MoEngage and the ledgers with what was posted.
func (f *fleet) judge() error {
	s, err := f.drained()
	err = errors.Join(append(f.surprises, err, f.books.compare(f.posters, s), f.twice())...)
	for _, m := range f.agents {
		for what, n := range m.odd {
			err = errors.Join(err, fmt.Errorf("agent %d answered %d times: %s", m.number, n, what))
		}
	}
	f.report()
	return err
}

// twice finds events that were sent again although nothing had happened to those who sent them, and writers of which more
// was sent again than may be in flight.
func (f *fleet) twice() (err error) {
	again := map[*sending]bool{}
	for _, r := range f.witness.repeats() {
		again[r.first] = true
		excused := false
		for _, l := range f.blows {
			excused = excused || (l.agent < 0 || l.agent == r.first.agent) && r.first.at.Before(l.at) && r.now.at.After(l.at)
			// or the later one was frozen with the request on its way, and sent it when it could
			excused = excused || l.agent == r.now.agent && l.what == "a thaw" && r.first.at.Before(l.at) && r.now.at.After(l.at)
		}
		if !excused {
			err = errors.Join(err, fmt.Errorf("agent %d sent %s at %s, and agent %d at %s: nothing happened in between",
				r.first.agent, r.change, r.first.at.Format(time.StampMilli), r.now.agent, r.now.at.Format(time.StampMilli)))
		}
	}
	terms := 0
	_, _ = fmt.Sscan(f.pair.Primary.SQL(f.t, "select number from personasync.term"), &terms)
	if len(again) > terms*fleetSenders {
		err = errors.Join(err, fmt.Errorf("%d requests were sent again, and of %d terms no more than %d can have been in flight", len(again), terms, terms*fleetSenders))
	}
	f.t.Logf("%d events in %d terms; %d requests were sent again; %d starts were refused", f.books.posted, terms, len(again), f.refusals)
	return err
}

// report says how long the others took to go on after each loss.
func (f *fleet) report() {
	for _, l := range f.blows {
		accepted := time.Time{}
		for _, a := range f.answered {
			if a.at.After(l.at) && a.door != l.agent {
				accepted = a.at
				break
			}
		}
		f.t.Logf("%s: %s (%s), %d requests with %d events in flight: another door answered after %s, another writer sent after %s",
			l.at.Format(time.StampMilli), l.what, nameOf(l.agent), l.requests, l.twice, since(accepted, l.at), since(f.witness.firstAfter(l.at, l.agent), l.at))
	}
}

func nameOf(agent int) string {
	if agent < 0 {
		return "all"
	}
	return fmt.Sprint("agent ", agent)
}

func since(at, begin time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Sub(begin).Round(time.Millisecond).String()
}
