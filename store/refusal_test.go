package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
)

// TestRefusalsKeepWhatAnOlderProgramCounted: it counted them in the ledger alone.
func TestRefusalsKeepWhatAnOlderProgramCounted(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	one := domain.Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Delivery: true, Last: noon}
	b.CountRefusal(one)
	must(t, b.Close())
	db, err := bolt.Open(filepath.Join(b.dir, datadir.StateFile), 0, false)
	must(t, err)
	must(t, db.Update(func(tx engine.Tx) error { // as if the older program had run since
		meta := tx.Bucket(state.BucketMeta)
		l, err := state.DecodeLedger(meta.Get(state.MetaLedger))
		if l.Rejected != 1 {
			t.Errorf("the ledger counts %d refused", l.Rejected)
		}
		l.Rejected += 7
		return firstError(err, meta.Put(state.MetaLedger, l.Encode()))
	}))
	must(t, db.Close())
	b.Store = nil
	b.reopen(rules(domain.SendAttribute))
	b.CountRefusal(one)
	b.receive(event("ann", "vip", true, 1))
	c, err := b.Counts()
	must(t, err)
	one.Count = 2
	if d := cmp.Diff([]domain.Refusal{{Count: 7}, one}, c.Refusals); d != "" || c.Rejected != 9 {
		t.Errorf("%d are refused\n%s", c.Rejected, d)
	}
	if c.Heard.Webhook.IsZero() || !c.Heard.Tracking.IsZero() {
		t.Errorf("an event was applied, and the times known are %+v", c.Heard)
	}
}

// TestRefusalsFloodIsAFewLines: a scanner does not drown what else the trail shows.
func TestRefusalsFloodIsAFewLines(t *testing.T) {
	r := state.NewRefusals(noon)
	from := r.Number()
	for i := range 600 { // ten a second for a minute
		r.Count(domain.Refusal{Route: "other", Status: 404, Code: "not_found", Last: noon.Add(time.Duration(i) * 100 * time.Millisecond)})
	}
	var to, sum uint64
	lines := r.Since(from, &to, noon.Add(2*time.Minute))
	for i := range lines {
		sum += lines[i].Count
	}
	if len(lines) > state.RefusalBurst+7 || sum != 600 {
		t.Errorf("600 refusals made %d lines, which tell of %d", len(lines), sum)
	}
	if again := r.Since(to, &to, noon.Add(time.Hour)); len(again) != 0 {
		t.Errorf("told twice: %+v", again)
	}
}
