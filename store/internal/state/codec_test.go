package state

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

// noon is when everything in these tests is received.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// Every decoder of bytes from disk must take any bytes without a panic, and a decoded value must come out again as it
// went in.

// resealed makes fuzzed bytes pass the checksum, or the fuzzer would never get behind it.
func resealed(b []byte) []byte { return wire.Seal(bytes.Clone(b), 0) }

// unsealed is what resealed was before: a seed with its checksum in it would have one too many.
func unsealed(frame []byte) []byte { return frame[:len(frame)-4] }

// rekeyed is resealed for values that are sealed under their key.
func rekeyed(b, key []byte) []byte { return wire.SealKeyed(bytes.Clone(b), 0, key) }

var (
	annsRow   = RowKey(UserKey("ann"), 0)
	annsIndex = RowKey(UserKey("ann"), BlockIndex)
	epochs    = record.Epochs{{First: 0, Epoch: 7}}
)

func FuzzRow(f *testing.F) {
	f.Add([]byte{plainVersion, 3, shapeOne, 4, 't', 'r', 'u', 'e', 2, 0, 0, 1})
	f.Add([]byte{RowVersion, 3 | withheldBit, shapeOne, 4, 't', 'r', 'u', 'e', 2, 0, 0, 1})
	f.Add(unsealed((&block{Entries: []*Entry{{Withheld: true, Waiting: tracedTicket(1), InFlight: tracedTicket(2)}}}).encode(nil, annsRow)))
	f.Fuzz(func(t *testing.T, body []byte) {
		row, err := DecodeBlock(annsRow, rekeyed(body, annsRow), epochs)
		if err != nil {
			return
		}
		frame := row.encode(nil, annsRow)
		if len(frame) == 0 {
			return
		}
		again, err := DecodeBlock(annsRow, frame, epochs)
		if err != nil || !bytes.Equal(again.encode(nil, annsRow), frame) {
			t.Errorf("row %x became %x: %v", body, frame, err)
		}
	})
}

// tracedTicket is a pending change of a record that has a trace.
func tracedTicket(seq uint64) Ticket {
	return Ticket{ID: domain.ID{Epoch: 7, Seq: seq}, Value: domain.JSONTrue, Name: "vip", Message: "m", Trace: &domain.Trace{ID: [16]byte{1, 15: 9}, Sampled: true}}
}

// TestATraceIsKeptWithAChangeAndCostsNothingWithout: an older program reads every row and change without one.
func TestATraceIsKeptWithAChangeAndCostsNothingWithout(t *testing.T) {
	failed := tracedTicket(3)
	failed.Failures = &Failures{Attempts: 2, Alone: 1, Reason: "r"}
	for _, e := range []*Entry{{Waiting: tracedTicket(1)}, {InFlight: tracedTicket(1), Waiting: tracedTicket(2)}, {Waiting: failed}, {Withheld: true, Waiting: failed}} {
		frame := (&block{Entries: []*Entry{e}}).encode(nil, annsRow)
		again, err := DecodeBlock(annsRow, frame, epochs)
		if err != nil || frame[0] != RowVersion || !reflect.DeepEqual(again.Entries[0], e) {
			t.Errorf("%+v became %+v: %v", e, again.Entries[0], err)
		}
		e.Waiting.Trace, e.InFlight.Trace = nil, nil
		without := (&block{Entries: []*Entry{e}}).encode(nil, annsRow)
		if want := plainVersion; without[0] != want && !e.Withheld || len(frame)-len(without) < 17 {
			t.Errorf("without a trace it has version %d and %d bytes, with one %d", without[0], len(without), len(frame))
		}
	}
	c := &Stored{Change: domain.Change{ID: domain.ID{Epoch: 7, Seq: 1}, Kind: domain.KindEvent, User: "ann"}}
	if frame := c.Encode(nil); frame[0] != plainChange {
		t.Errorf("a change without a trace has version %d", frame[0])
	}
	c.Trace = tracedTicket(1).Trace
	if again, err := DecodeChange(c.Encode(nil), epochs); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%+v became %+v: %v", c, again, err)
	}
}

func FuzzConsent(f *testing.F) {
	key := RowKey(UserKey("ann"), BlockConsent)
	f.Add(unsealed(encodeConsent(nil, key, &domain.Consent{Preferences: domain.Preferences{Given: []string{"Marketing"}}, Time: 9, Since: 7, Seq: 3, Updated: true})))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := DecodeConsent(key, rekeyed(body, key))
		if err != nil {
			return
		}
		again, err := DecodeConsent(key, encodeConsent(nil, key, c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v became %+v: %v", c, again, err)
		}
		if _, err := DecodeBlock(key, rekeyed(body, key), epochs); err == nil {
			t.Error("consent is read as memberships")
		}
	})
}

func FuzzHead(f *testing.F) {
	h := &PendingIndex{History: 3}
	h.SetPending(70, true)
	h.Endpoint(domain.EndpointTransition).Add(LaneDefault, 12)
	f.Add(unsealed(h.encode(nil, annsIndex)))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := DecodeIndex(annsIndex, rekeyed(body, annsIndex))
		if err != nil || h.Empty() {
			return
		}
		if _, err := DecodeIndex(annsIndex, h.encode(nil, annsIndex)); err != nil {
			t.Errorf("%+v does not survive: %v", h, err)
		}
	})
}

func FuzzChange(f *testing.F) {
	c := &Stored{Change: domain.Change{ID: domain.ID{Epoch: 7, Seq: 1, Slot: 0}, Kind: domain.KindEvent, User: "ann"}}
	f.Add(unsealed(c.Encode(nil)))
	c.Trace = tracedTicket(1).Trace
	f.Add(unsealed(c.Encode(nil)))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := DecodeChange(resealed(body), epochs)
		if err != nil {
			return
		}
		again, err := DecodeChange(c.Encode(nil), epochs)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%+v became %+v: %v", c, again, err)
		}
	})
}

func FuzzFlight(f *testing.F) {
	f.Add(unsealed((&Lease{Endpoint: domain.EndpointTransition, List: []LeasedUser{{User: "ann", Attributes: []LeasedChange{{Number: 3, ID: domain.ID{Epoch: 7, Seq: 1, Slot: 0}}}}}}).Encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		flown, err := DecodeLease(1, resealed(body), epochs)
		if err != nil {
			return
		}
		again, err := DecodeLease(1, flown.Encode(), epochs)
		if err != nil || !reflect.DeepEqual(flown, again) {
			t.Errorf("%+v became %+v: %v", flown, again, err)
		}
	})
}

func FuzzField(f *testing.F) {
	one := Field{Number: 3, Space: "spa_1", Key: "vip", ID: "aud_vip", Class: domain.ClassAudience, Members: 2, LastEvent: noon, Exits: ExitWindow{Since: noon, Swept: []byte("k")}}
	f.Add(unsealed(one.Encode(nil)))
	f.Fuzz(func(t *testing.T, body []byte) {
		x, err := DecodeField(3, rekeyed(body, FieldKey(3)))
		if err != nil {
			return
		}
		again, err := DecodeField(3, x.Encode(nil))
		if err != nil || !reflect.DeepEqual(x, again) {
			t.Errorf("%+v became %+v: %v", x, again, err)
		}
	})
}

func FuzzLedger(f *testing.F) {
	f.Add(unsealed((&Ledger{Users: 7}).Encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := DecodeLedger(resealed(body))
		if err != nil {
			return
		}
		again, err := DecodeLedger(l.Encode())
		if l.Uncounted = false; err != nil || !reflect.DeepEqual(l, again) {
			t.Errorf("%+v became %+v: %v", l, again, err)
		}
	})
}
