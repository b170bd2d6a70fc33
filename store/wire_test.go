package store

import (
	"bytes"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/state"
)

func TestADamagedRowHarmsNobodyElse(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	b.drain()
	b.said()
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		key := state.RowKey(state.UserKey("ann"), 0)
		row := bytes.Clone(x.Rows.Get(key))
		row[3] ^= 0xFF
		return x.Rows.Put(key, row)
	}, nil))
	b.receive(event("ann", "vip", true, 2), event("bob", "vip", false, 2))
	b.drain()
	b.wantSaid("bob.vip=false ann.vip=true") // in order of partition
	n := 0
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		n = engine.Count(x.Bucket(state.BucketDamaged))
		return nil
	}, nil))
	if n != 1 {
		t.Errorf("%d rows set aside", n)
	}
}
