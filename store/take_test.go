package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// effort is what a transaction of the writer did. It is counted, and so the same on every machine.
type effort struct {
	visited      int   // entries of the due index
	lookups      int64 // each goes down one tree, once
	nodes, pages int64 // taken apart, and written
}

// TestTakingWhatIsDueCostsTheSameWhateverWaits takes and settles a thousand pending changes, with next to
// little behind them and with three times as much.
func TestTakingWhatIsDueCostsTheSameWhateverWaits(t *testing.T) {
	costly(t, manyUsers)
	t.Parallel()
	for name, tried := range map[string]bool{"for the first time": false, "after a failure": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			small, large := waiting(t, 3_100, tried), waiting(t, 9_000, tried)
			for range 2 {
				f, little := takeThousand(small)
				g, much := takeThousand(large)
				wantSameEffort(t, "take", little, much)
				wantSameEffort(t, "settle", settleThousand(small, f), settleThousand(large, g))
			}
		})
	}
}

func wantSameEffort(t *testing.T, what string, little, much effort) {
	t.Helper()
	t.Logf("%s: %+v, with much behind it %+v", what, little, much)
	if little.visited != much.visited {
		t.Errorf("%s: %d entries of the due index were looked at, and %d with more behind them", what, little.visited, much.visited)
	}
	if much.lookups > little.lookups+little.lookups/100+8 {
		t.Errorf("%s: %d lookups, and %d with more behind them", what, little.lookups, much.lookups)
	}
	if much.pages > little.pages+little.pages/2 || much.nodes > little.nodes+little.nodes/2 { // the trees are a level deeper
		t.Errorf("%s: %d nodes were taken apart and %d pages written, and %d and %d with more behind them",
			what, little.nodes, little.pages, much.nodes, much.pages)
	}
}

// waiting is a store in which n users wait, tried once or never.
func waiting(t *testing.T, n int, tried bool) *bench {
	t.Helper()
	b := open(t, rules(domain.SendAttribute))
	for at := 0; at < n; at += 1000 {
		var events []*domain.Event
		for i := at; i < min(at+1000, n); i++ {
			events = append(events, event(fmt.Sprintf("user-%08d", i), "vip", true, 1))
		}
		must(t, b.Append(context.Background(), events...))
	}
	must(t, b.Applied(context.Background()))
	for left := n; tried && left > 0; left -= 1000 {
		settleThousand(b, b.take())
	}
	return b
}

// takeThousand takes what is due after every retry.
func takeThousand(b *bench) (f *domain.Lease, e effort) {
	b.Helper()
	o, visited := everything(noon.Add(3*time.Hour)), 0
	e = b.measure(func(x *state.Tx) {
		d := outbox.NewLeaser(x, o)
		d.Gather()
		d.Remember()
		f, visited = d.Lease, d.Visited
	})
	if e.visited = visited; len(f.Users) != 1000 {
		b.Fatalf("%d were taken", len(f.Users))
	}
	return f, e
}

// settleThousand has everybody on a lease wait for an hour.
func settleThousand(b *bench, f *domain.Lease) effort {
	b.Helper()
	o := domain.Settlement{Lease: f.ID, At: noon.Add(time.Hour)}
	for range f.Users {
		o.Results = append(o.Results, domain.UserResult{Attributes: domain.Result{Verdict: domain.Refused, RetryAt: noon.Add(2 * time.Hour), Reason: "test"}})
	}
	return b.measure(func(x *state.Tx) { outbox.Settle(x, o) })
}

// measure runs one transaction, as Take does, and returns what it did.
func (b *bench) measure(do func(x *state.Tx)) effort {
	b.Helper()
	run := func() {
		must(b, b.writer.Do(context.Background(), func(x *state.Tx) error { do(x); return nil }, func(x *state.Tx) { outbox.Next(x, domain.EndpointTransition) }))
	}
	if onPostgres { // which counts nothing of the kind
		run()
		return effort{}
	}
	before := b.db.DB().Stats()
	run()
	after := b.db.DB().Stats()
	tx := after.TxStats.Sub(&before.TxStats)
	return effort{lookups: tx.GetCursorCount(), nodes: tx.GetNodeCount(), pages: tx.GetPageCount()}
}

// Who is skipped, or passed over, stays in the outbox, and nobody behind them waits for it.
// TestAnAttributeThatIsOnlySaidToWaitIsSaidSoOnce: the row and the user's index disagree, as after damage. The
// user's other changes leave, and the index is put right.
func TestAnAttributeThatIsOnlySaidToWaitIsSaidSoOnce(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	b.drain()
	b.receive(event("ann", "gold", true, 2))
	saidToWait := func(change func(h *state.PendingIndex, number uint32)) {
		must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
			u := x.User("ann")
			change(u.Index, x.State.Registry.ByKey["vip"][0].Number)
			u.Dirty = true
			return nil
		}, nil))
	}
	saidToWait(func(h *state.PendingIndex, number uint32) { h.SetPending(number, true) })
	b.said()
	b.drain()
	b.wantSaid("ann.gold=true")
	saidToWait(func(h *state.PendingIndex, number uint32) {
		if slices.Contains(h.PendingFields(nil), number) {
			t.Error("it is still said to wait")
		}
	})
	b.balance()
}

func TestTakeGoesOnBehindWhoIsSkipped(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	must(t, b.Append(context.Background(), event("ann", "vip", true, 1), event("bob", "vip", true, 1), event("cid", "vip", true, 1)))
	must(t, b.Applied(context.Background()))
	take := func(skip func(string) bool, pass func(domain.UserChanges) bool) (users []string) {
		t.Helper()
		f, _, err := b.Take(context.Background(), domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: noon.Add(time.Hour), MaxUsers: 1, MaxEvents: 1, Skip: skip, Pass: pass,
			Due: func(string) time.Time { return noon.Add(time.Hour) }, Fit: func(domain.UserChanges) bool { return true },
		})
		must(t, err)
		if f == nil {
			return nil
		}
		for _, d := range f.Users {
			users = append(users, d.User)
		}
		return users
	}
	all := map[string]bool{"ann": true, "bob": true, "cid": true}
	delete(all, "bob")
	if got := take(func(u string) bool { return all[u] }, nil); len(got) != 1 || got[0] != "bob" {
		t.Errorf("took %v, want bob alone", got)
	}
	if got := take(nil, func(d domain.UserChanges) bool { return d.User != "cid" }); len(got) != 1 || got[0] != "cid" {
		t.Errorf("took %v, want cid alone", got)
	}
	if got := take(func(string) bool { return true }, nil); got != nil {
		t.Errorf("took %v of users who are all skipped", got)
	}
	if got := take(nil, nil); len(got) != 1 || got[0] != "ann" {
		t.Errorf("took %v afterwards, want ann", got)
	}
}
