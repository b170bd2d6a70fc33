package store

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// effort is what a transaction of the writer did. It is counted, and so the same on every machine.
type effort struct {
	visited      int   // entries of the due index
	lookups      int64 // each goes down one tree, once
	nodes, pages int64 // taken apart, and written
}

// TestTakingWhatIsDueCostsTheSameWhateverWaits takes and settles a thousand of what waits, with next to
// little behind them and with three times as much.
func TestTakingWhatIsDueCostsTheSameWhateverWaits(t *testing.T) {
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
	b := open(t, rules(SendAttribute))
	for at := 0; at < n; at += 1000 {
		var events []*Event
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
func takeThousand(b *bench) (f *Flight, e effort) {
	b.Helper()
	o, visited := everything(noon.Add(3*time.Hour)), 0
	e = b.measure(func(x *batch) {
		d := newDeparture(x, o)
		d.gather()
		d.remember()
		f, visited = d.flight, d.visited
	})
	if e.visited = visited; len(f.Deliveries) != 1000 {
		b.Fatalf("%d were taken", len(f.Deliveries))
	}
	return f, e
}

// settleThousand has everybody on a flight wait for an hour.
func settleThousand(b *bench, f *Flight) effort {
	b.Helper()
	o := Outcome{Flight: f.ID, At: noon.Add(time.Hour)}
	for range f.Deliveries {
		o.Results = append(o.Results, Settlement{Attributes: Result{Verdict: Refused, RetryAt: noon.Add(2 * time.Hour), Reason: "test"}})
	}
	return b.measure(func(x *batch) { x.settle(o) })
}

// measure runs one transaction, as Take does, and returns what it did.
func (b *bench) measure(do func(x *batch)) effort {
	b.Helper()
	before := b.db.db.Load().Stats()
	must(b, b.run(context.Background(), func(x *batch) error { do(x); return nil }, func(x *batch) { x.next(RoadTransition) }))
	after := b.db.db.Load().Stats()
	tx := after.TxStats.Sub(&before.TxStats)
	return effort{lookups: tx.GetCursorCount(), nodes: tx.GetNodeCount(), pages: tx.GetPageCount()}
}
