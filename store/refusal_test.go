package store

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
)

// TestRefusalsKeepWhatAnOlderProgramCounted: it counted them in the ledger alone.
func TestRefusalsKeepWhatAnOlderProgramCounted(t *testing.T) {
	onFiles(t)
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
	if c.LastReceived.Webhook.IsZero() || !c.LastReceived.Tracking.IsZero() {
		t.Errorf("an event was applied, and the times known are %+v", c.LastReceived)
	}
}
