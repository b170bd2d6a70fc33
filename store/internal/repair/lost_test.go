package repair

import (
	"os"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
)

// TestEveryKindOfEntryKeepsTheNumbersItNames: without the field or the lane an entry could not be read.
func TestEveryKindOfEntryKeepsTheNumbersItNames(t *testing.T) {
	const field, lane = 40, 9
	change := &state.Stored{Change: domain.Change{ID: domain.ID{Epoch: statetest.Epoch, Seq: 4}, User: "ann", Kind: domain.KindEvent, Computation: "vip"}, Field: field, Lane: lane}
	received := *change
	received.Kind, received.Raw = domain.KindReceived, statetest.Frame(statetest.Enter("ann", "vip", 1))
	for name, tc := range map[string]struct {
		put           func(tx *state.Tx)
		fields, lanes uint32
	}{
		"the history":                    {func(tx *state.Tx) { tx.Put(tx.Bucket(state.BucketHistory), state.NumberKey(9), change.Encode(nil)) }, field + 1, lane + 1},
		"a parked change":                {func(tx *state.Tx) { tx.Put(tx.Parked, state.IDKey(change.ID), change.Encode(nil)) }, field + 1, lane + 1},
		"a held change":                  {func(tx *state.Tx) { tx.Put(tx.Held, state.IDKey(change.ID), change.Encode(nil)) }, field + 1, lane + 1},
		"the queue":                      {func(tx *state.Tx) { tx.Put(tx.Bucket(state.BucketQueue), []byte("key"), tx.QueueValue(7, change)) }, field + 1, lane + 1},
		"a row":                          {func(tx *state.Tx) { waits(tx, "ann", field, lane) }, field + 1, lane + 1},
		"a lane":                         {func(tx *state.Tx) { tx.Put(tx.Bucket(state.BucketJobs), state.FieldKey(lane), []byte("weekly")) }, 0, lane + 1},
		"a parked event, which has none": {func(tx *state.Tx) { tx.Put(tx.Parked, state.IDKey(change.ID), received.Encode(nil)) }, 0, 0},
		"nothing":                        {func(*state.Tx) {}, 0, 0},
	} {
		d := statetest.New(t, statetest.Rules(domain.SendBoth))
		d.Do(tc.put)
		s := &referencedIDs{epoch: statetest.Epoch, about: make(map[uint32]*state.Stored)}
		must(t, d.File().View(func(tx engine.Tx) error { s.read(tx); return nil }))
		if s.fields != tc.fields || s.lanes != tc.lanes {
			t.Errorf("%s: numbers up to %d of fields and %d of lanes, want %d and %d", name, s.fields, s.lanes, tc.fields, tc.lanes)
		}
	}
}

// waits writes a row of a user in which a change of a field waits in a lane.
func waits(tx *state.Tx, user string, field, lane uint32) {
	u := tx.User(user)
	e := tx.Entry(u, field)
	e.Waiting = state.Ticket{ID: domain.ID{Epoch: statetest.Epoch, Seq: 4}, Lane: lane}
	tx.Write(u, field)
}

// entries visits every entry of every row.
func entries(d *dirtest.Dir, visit func(e *state.Entry)) {
	d.Edit(func(kv engine.Tx) error {
		return kv.Bucket(state.BucketRows).ForEach(func(k, frame []byte) error {
			row, err := state.DecodeBlock(k, frame, record.Epochs{{First: 0, Epoch: statetest.Epoch}})
			if err != nil {
				return nil // of another kind
			}
			for _, e := range row.Entries {
				visit(e)
			}
			return nil
		})
	})
}

// TestALostLeaseLeavesWhatWaitsUncertain: MoEngage may have been told of it in that request. Without it, nothing was sent.
func TestALostLeaseLeavesWhatWaitsUncertain(t *testing.T) {
	for _, lost := range []bool{false, true} {
		d := crowded(t)
		if lost {
			d.Edit(func(kv engine.Tx) error {
				return kv.Bucket(state.BucketLeases).Put(state.NumberKey(5), []byte("corrupt"))
			})
		}
		s, err := salvage(d)
		must(t, err)
		if s.Entries != map[bool]uint64{true: 1}[lost] {
			t.Errorf("lost %v: %d entries are", lost, s.Entries)
		}
		uncertain := 0
		entries(d, func(e *state.Entry) {
			if e.LastSent.Kind == state.UncertainlySent {
				uncertain++
			}
		})
		if (uncertain == crowd) != lost || (uncertain == 0) == lost {
			t.Errorf("lost %v: of %d it is uncertain whether MoEngage was told", lost, uncertain)
		}
		wantSound(t, d)
	}
}

// TestTheChangesOfALostLeaseAreSentAgain: nothing is in a request that nobody has.
func TestTheChangesOfALostLeaseAreSentAgain(t *testing.T) {
	d := crowded(t)
	var lease *domain.Lease
	d.Write(func(tx *state.Tx) { lease = leased(tx, domain.EndpointTransition, 10) })
	d.Receive(statetest.Exit(lease.Users[0].User, "vip", 59)) // it waits behind the enter in the request
	d.Apply()
	d.Edit(func(kv engine.Tx) error {
		return kv.Bucket(state.BucketLeases).Put(state.NumberKey(lease.ID), []byte("corrupt"))
	})
	_, err := salvage(d)
	must(t, err)
	wantSound(t, d)
	entries(d, func(e *state.Entry) {
		if !e.InFlight.ID.IsZero() {
			t.Errorf("%s is still in a request", e.InFlight.ID)
		}
	})
	d.Write(func(tx *state.Tx) {
		if f := leased(tx, domain.EndpointTransition, 1000); f == nil || len(f.Users) != crowd {
			t.Errorf("not every user is sent: %+v", f)
		}
	})
}

// TestTheEpochIsTheStatesWhereTheInboxIsGone, so that the ids of changes stay what they were.
func TestTheEpochIsTheStatesWhereTheInboxIsGone(t *testing.T) {
	d := crowded(t)
	must(t, os.Remove(wal.Path(d.Path, 1)))
	s, err := salvage(d)
	must(t, err)
	if st := d.Load(); st.Epoch != statetest.Epoch || s.Saved.Pending != 2*crowd {
		t.Errorf("epoch %d, %+v", st.Epoch, s)
	}
}
