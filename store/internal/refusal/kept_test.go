package refusal_test

import (
	"errors"
	"reflect"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// TestCountsOfRefusalsSurviveARestart, also after a transaction that failed. What an older program counted without a kind
// stays in the sum.
func TestCountsOfRefusalsSurviveARestart(t *testing.T) {
	d := statetest.New(t, statetest.Rules(domain.SendBoth))
	load := func(total uint64) (list []domain.Refusal, heard domain.LastReceived) {
		t.Helper()
		r := refusal.New(statetest.Noon)
		d.Must(d.File().View(func(tx engine.Tx) error { return r.Load(tx, total) }))
		if r.Unwritten() {
			t.Error("what was just read is said to lack on disk")
		}
		return r.List()
	}
	if list, _ := load(0); len(list) != 0 {
		t.Errorf("of nothing there are %+v", list)
	}
	if list, _ := load(3); len(list) != 1 || list[0] != (domain.Refusal{Count: 3}) {
		t.Errorf("of an older program there are %+v", list)
	}
	r := refusal.New(statetest.Noon)
	one := domain.Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Delivery: true, Last: statetest.Noon}
	r.Count(one)
	r.Count(one)
	r.NoteReceived(domain.LastReceived{Webhook: statetest.Noon})
	broken := errors.New("broken")
	err := d.Try(func(tx *state.Tx) { r.Write(tx); tx.Err = broken })
	if !errors.Is(err, broken) || r.Unwritten() {
		t.Fatalf("%v, unwritten: %v", err, r.Unwritten())
	}
	if r.Failed(); !r.Unwritten() {
		t.Error("counts of a transaction that failed are said to be written")
	}
	d.Do(func(tx *state.Tx) { r.Write(tx) })
	if r.Unwritten() || d.State.Ledger.Rejected != 2 {
		t.Errorf("unwritten: %v, the ledger has %d", r.Unwritten(), d.State.Ledger.Rejected)
	}
	list, heard := load(5)
	one.Count = 2
	if want := []domain.Refusal{{Count: 3}, one}; !reflect.DeepEqual(list, want) || !heard.Webhook.Equal(statetest.Noon) {
		t.Errorf("%+v at %v, want %+v", list, heard, want)
	}
	r.NoteReceived(domain.LastReceived{Webhook: statetest.Noon})
	if r.Unwritten() {
		t.Error("the same times are written again")
	}
	d.Do(func(tx *state.Tx) { r.Write(tx) })
	d.Put(state.BucketMeta, state.MetaRefusals, []byte("rubbish"))
	if err := d.File().View(func(tx engine.Tx) error { return refusal.New(statetest.Noon).Load(tx, 0) }); err == nil {
		t.Error("rubbish is read")
	}
}
