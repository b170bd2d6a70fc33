package store

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Every decoder of bytes from disk must take any bytes without a panic, and what it takes must come
// out again as it went in.

func FuzzRecord(f *testing.F) {
	frames := [][]byte{
		record.AppendEvent(nil, event("ann", "vip", true, 1)),
		record.AppendEvent(nil, event("ann", "vip", true, 1, func(e *domain.Event) {
			e.LeftOut = []domain.Column{{Name: "score", Value: domain.Span{Off: 3, Len: 5}}}
		})),
		record.AppendEvent(nil, trait("ann", "zendesk", 1, "a", "1", "b", "2")),
		(&record.Action{Received: noon, Verb: record.ActionRetry, IDs: []domain.ID{{Epoch: 0, Seq: 1, Slot: 0}, {Epoch: 0, Seq: 7, Slot: 3}}}).Encode(nil),
		(&record.Repair{Received: noon, Missing: []record.Told{{User: "ann", Field: 3}}}).Encode(nil),
		record.AppendOrder(nil, &record.Order{Received: noon, Time: noon, Verb: record.OrderImport, Field: 2, Key: "vip", Words: []record.JobTarget{{User: "ann", In: true}, {User: "bea", In: false}}}),
		record.AppendOrder(nil, &record.Order{Received: noon, Verb: record.OrderAdopt, IDs: []domain.ID{{Epoch: 0, Seq: 4, Slot: 0}}, Other: 9}),
		wire.Seal([]byte{record.RecordLost}, 0), wire.Seal([]byte{record.RecordErased}, 0),
	}
	if frame, err := record.AppendRules(nil, &domain.Rules{Defaults: policy(domain.SendBoth)}); err == nil {
		frames = append(frames, frame)
	}
	for _, frame := range frames {
		if _, err := record.DecodeRecord(1, frame); err != nil {
			f.Fatalf("a seed is no record: %v", err)
		}
		f.Add(unsealed(frame))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rec, err := record.DecodeRecord(1, resealed(body))
		if err != nil {
			return
		}
		frame := encodeRecord(&rec)
		again, err := record.DecodeRecord(1, frame)
		if err != nil || !bytes.Equal(encodeRecord(&again), frame) {
			t.Fatalf("%+v became %+v: %v", rec, again, err)
		}
		if e := rec.Event; e != nil {
			for _, c := range e.Columns {
				e.Bytes(c.Value)
			}
			e.Properties()
		}
	})
}

func encodeRecord(rec *record.Record) []byte {
	switch {
	case rec.Event != nil:
		return record.AppendEvent(nil, rec.Event)
	case rec.Action != nil:
		return rec.Action.Encode(nil)
	case rec.Repair != nil:
		return rec.Repair.Encode(nil)
	case rec.Order != nil:
		return record.AppendOrder(nil, rec.Order)
	case rec.Rules != nil:
		frame, err := record.AppendRules(nil, rec.Rules)
		if err != nil {
			panic(err)
		}
		return frame
	case rec.Erased:
		return wire.Seal([]byte{record.RecordErased}, 0)
	}
	return wire.Seal([]byte{record.RecordLost}, 0)
}

// resealed makes fuzzed bytes pass the checksum, or the fuzzer would never get behind it.
func resealed(b []byte) []byte { return wire.Seal(bytes.Clone(b), 0) }

// unsealed is what resealed was before: a seed with its checksum in it would have one too many.
func unsealed(frame []byte) []byte { return frame[:len(frame)-4] }

// rekeyed is resealed for what is sealed under its key.
func rekeyed(b, key []byte) []byte { return wire.SealKeyed(bytes.Clone(b), 0, key) }

var annsRow, annsHead = state.RowKey(state.UserKey("ann"), 0), state.RowKey(state.UserKey("ann"), state.BlockIndex)

func FuzzRow(f *testing.F) {
	f.Add([]byte{state.RowVersion, 3, state.ShapeOne, 4, 't', 'r', 'u', 'e', 2, 0, 0, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		row, err := state.DecodeBlock(annsRow, rekeyed(body, annsRow), record.Epochs{{First: 0, Epoch: 7}})
		if err != nil {
			return
		}
		frame := row.Encode(nil, annsRow)
		if len(frame) == 0 {
			return
		}
		again, err := state.DecodeBlock(annsRow, frame, record.Epochs{{First: 0, Epoch: 7}})
		if err != nil || !bytes.Equal(again.Encode(nil, annsRow), frame) {
			t.Errorf("row %x became %x: %v", body, frame, err)
		}
	})
}

func FuzzHead(f *testing.F) {
	h := &state.PendingIndex{History: 3}
	h.SetPending(70, true)
	h.Endpoint(domain.EndpointTransition).Add(state.LaneDefault, 12)
	f.Add(unsealed(h.Encode(nil, annsHead)))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := state.DecodeIndex(annsHead, rekeyed(body, annsHead))
		if err != nil || h.Empty() {
			return
		}
		if _, err := state.DecodeIndex(annsHead, h.Encode(nil, annsHead)); err != nil {
			t.Errorf("%+v does not survive: %v", h, err)
		}
	})
}

func FuzzChange(f *testing.F) {
	c := &state.Stored{Change: domain.Change{ID: domain.ID{Epoch: 7, Seq: 1, Slot: 0}, Kind: domain.KindEvent, User: "ann"}}
	f.Add(unsealed(c.Encode(nil)))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := state.DecodeChange(resealed(body), record.Epochs{{First: 0, Epoch: 7}})
		if err != nil {
			return
		}
		again, err := state.DecodeChange(c.Encode(nil), record.Epochs{{First: 0, Epoch: 7}})
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%+v became %+v: %v", c, again, err)
		}
	})
}

func FuzzFlight(f *testing.F) {
	f.Add(unsealed((&state.Lease{Endpoint: domain.EndpointTransition, List: []state.LeasedDelivery{{User: "ann", Attributes: []state.LeasedChange{{Number: 3, ID: domain.ID{Epoch: 7, Seq: 1, Slot: 0}}}}}}).Encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		flown, err := state.DecodeLease(1, resealed(body), record.Epochs{{First: 0, Epoch: 7}})
		if err != nil {
			return
		}
		again, err := state.DecodeLease(1, flown.Encode(), record.Epochs{{First: 0, Epoch: 7}})
		if err != nil || !reflect.DeepEqual(flown, again) {
			t.Errorf("%+v became %+v: %v", flown, again, err)
		}
	})
}

func FuzzField(f *testing.F) {
	one := state.Field{Number: 3, Space: "spa_1", Key: "vip", ID: "aud_vip", Class: domain.ClassAudience, Members: 2, LastEvent: noon, Watch: state.ExitWindow{Since: noon, Swept: []byte("k")}}
	f.Add(unsealed(one.Encode(nil)))
	f.Fuzz(func(t *testing.T, body []byte) {
		x, err := state.DecodeField(3, rekeyed(body, state.FieldKey(3)))
		if err != nil {
			return
		}
		again, err := state.DecodeField(3, x.Encode(nil))
		if err != nil || !reflect.DeepEqual(x, again) {
			t.Errorf("%+v became %+v: %v", x, again, err)
		}
	})
}

func FuzzSample(f *testing.F) {
	s := query.Sample{At: noon, Received: 7, DataBytes: 1 << 30, Audiences: []query.AudienceSample{{Members: 3, Number: 1}}}
	f.Add(unsealed(s.Encode(nil)))
	f.Add(unsealed((&state.Ledger{Users: 7}).Encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, err := query.DecodeSample(resealed(body)); err == nil {
			again, err := query.DecodeSample(s.Encode(nil))
			if err != nil || !reflect.DeepEqual(s, again) {
				t.Errorf("%+v became %+v: %v", s, again, err)
			}
		}
		if l, err := state.DecodeLedger(resealed(body)); err == nil {
			again, err := state.DecodeLedger(l.Encode())
			if l.Uncounted = false; err != nil || !reflect.DeepEqual(l, again) {
				t.Errorf("%+v became %+v: %v", l, again, err)
			}
		}
	})
}

func TestAnEventSurvivesTheRecord(t *testing.T) {
	e := trait("ann", "zendesk", 3, "a", "1.50", "b", `"x"`)
	e.Anonymous, e.Email = domain.Identifier{ID: "anon", Fault: ""}, domain.Identifier{ID: "a@example.com", Fault: "id_too_long"}
	e.TimeSource, e.ClockShift, e.Tracking = domain.TimeUncorrected, -3*time.Hour, true
	e.Name, e.PassThrough, e.Fault, e.Sentence = "Name", true, "undetermined", "no flag"
	e.ClockAhead = 366 * 24 * time.Hour
	rec, err := record.DecodeRecord(9, record.AppendEvent(nil, e))
	must(t, err)
	if !reflect.DeepEqual(rec.Event, e) {
		t.Errorf("got %+v\nwant %+v", rec.Event, e)
	}
}

func TestAnEventOfTheFirstFormatIsRead(t *testing.T) {
	e := trait("ann", "zendesk", 3, "a", "1.50", "b", `"x"`)
	frame := record.AppendEvent(nil, e)
	r := wire.NewReader(frame[1:])
	r.Time()
	r.Time()
	times := len(frame) - r.Len()
	old := append([]byte{record.RecordEvent1}, frame[1:times]...)
	old = append(old, frame[times+3:len(frame)-4]...) // without source, shift and route
	rec, err := record.DecodeRecord(9, wire.Seal(old, 0))
	must(t, err)
	if !reflect.DeepEqual(rec.Event, e) {
		t.Errorf("got %+v\nwant %+v", rec.Event, e)
	}
	if got := record.ReceiptOf(old, 0); got != e.Received.UnixNano() {
		t.Errorf("its receipt is read as %d", got)
	}
}

func TestOneChangedBitIsNoticed(t *testing.T) {
	frame := record.AppendEvent(nil, event("ann", "vip", true, 1))
	for i := range frame {
		broken := bytes.Clone(frame)
		broken[i] ^= 1
		if _, err := record.DecodeRecord(1, broken); err == nil {
			t.Fatalf("a bit changed in byte %d of %d went unnoticed", i, len(frame))
		}
	}
}

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
