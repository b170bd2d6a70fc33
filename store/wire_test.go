package store

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// Every decoder of bytes from disk must take any bytes without a panic, and what it takes must come
// out again as it went in.

func FuzzRecord(f *testing.F) {
	frames := [][]byte{
		appendEvent(nil, event("ann", "vip", true, 1)),
		appendEvent(nil, event("ann", "vip", true, 1, func(e *domain.Event) {
			e.LeftOut = []domain.Column{{Name: "score", Value: domain.Span{Off: 3, Len: 5}}}
		})),
		appendEvent(nil, trait("ann", "zendesk", 1, "a", "1", "b", "2")),
		(&action{noon, actionRetry, []domain.ID{{Epoch: 0, Seq: 1, Slot: 0}, {Epoch: 0, Seq: 7, Slot: 3}}}).encode(nil),
		(&repair{received: noon, missing: []Told{{User: "ann", field: 3}}}).encode(nil),
		appendOrder(nil, &order{received: noon, time: noon, verb: orderImport, field: 2, key: "vip", words: []jobTarget{{"ann", true}, {"bea", false}}}),
		appendOrder(nil, &order{received: noon, verb: orderAdopt, ids: []domain.ID{{Epoch: 0, Seq: 4, Slot: 0}}, other: 9}),
		wire.Seal([]byte{recordLost}, 0), wire.Seal([]byte{recordErased}, 0),
	}
	if frame, err := appendRules(nil, &domain.Rules{Defaults: policy(domain.SendBoth)}); err == nil {
		frames = append(frames, frame)
	}
	for _, frame := range frames {
		if _, err := decodeRecord(1, frame); err != nil {
			f.Fatalf("a seed is no record: %v", err)
		}
		f.Add(unsealed(frame))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rec, err := decodeRecord(1, resealed(body))
		if err != nil {
			return
		}
		frame := encodeRecord(&rec)
		again, err := decodeRecord(1, frame)
		if err != nil || !bytes.Equal(encodeRecord(&again), frame) {
			t.Fatalf("%+v became %+v: %v", rec, again, err)
		}
		if e := rec.event; e != nil {
			for _, c := range e.Columns {
				e.Bytes(c.Value)
			}
			e.Properties()
		}
	})
}

func encodeRecord(rec *record) []byte {
	switch {
	case rec.event != nil:
		return appendEvent(nil, rec.event)
	case rec.action != nil:
		return rec.action.encode(nil)
	case rec.repair != nil:
		return rec.repair.encode(nil)
	case rec.order != nil:
		return appendOrder(nil, rec.order)
	case rec.rules != nil:
		frame, err := appendRules(nil, rec.rules)
		if err != nil {
			panic(err)
		}
		return frame
	case rec.erased:
		return wire.Seal([]byte{recordErased}, 0)
	}
	return wire.Seal([]byte{recordLost}, 0)
}

// resealed makes fuzzed bytes pass the checksum, or the fuzzer would never get behind it.
func resealed(b []byte) []byte { return wire.Seal(bytes.Clone(b), 0) }

// unsealed is what resealed was before: a seed with its checksum in it would have one too many.
func unsealed(frame []byte) []byte { return frame[:len(frame)-4] }

// rekeyed is resealed for what is sealed under its key.
func rekeyed(b, key []byte) []byte { return wire.SealKeyed(bytes.Clone(b), 0, key) }

var annsRow, annsHead = rowKey(userKey("ann"), 0), rowKey(userKey("ann"), blockHead)

func FuzzRow(f *testing.F) {
	f.Add([]byte{rowVersion, 3, shapeOne, 4, 't', 'r', 'u', 'e', 2, 0, 0, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		row, err := decodeBlock(annsRow, rekeyed(body, annsRow), epochs{{0, 7}})
		if err != nil {
			return
		}
		frame := row.encode(nil, annsRow)
		if len(frame) == 0 {
			return
		}
		again, err := decodeBlock(annsRow, frame, epochs{{0, 7}})
		if err != nil || !bytes.Equal(again.encode(nil, annsRow), frame) {
			t.Errorf("row %x became %x: %v", body, frame, err)
		}
	})
}

func FuzzHead(f *testing.F) {
	h := &head{history: 3}
	h.setPending(70, true)
	h.endpoint(domain.EndpointTransition).add(laneDefault, 12)
	f.Add(unsealed(h.encode(nil, annsHead)))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := decodeHead(annsHead, rekeyed(body, annsHead))
		if err != nil || h.empty() {
			return
		}
		if _, err := decodeHead(annsHead, h.encode(nil, annsHead)); err != nil {
			t.Errorf("%+v does not survive: %v", h, err)
		}
	})
}

func FuzzChange(f *testing.F) {
	c := &stored{Change: domain.Change{ID: domain.ID{Epoch: 7, Seq: 1, Slot: 0}, Kind: domain.KindEvent, User: "ann"}}
	f.Add(unsealed(c.encode(nil)))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decodeChange(resealed(body), epochs{{0, 7}})
		if err != nil {
			return
		}
		again, err := decodeChange(c.encode(nil), epochs{{0, 7}})
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%+v became %+v: %v", c, again, err)
		}
	})
}

func FuzzFlight(f *testing.F) {
	f.Add(unsealed((&lease{endpoint: domain.EndpointTransition, list: []leasedDelivery{{user: "ann", attributes: []leasedChange{{3, domain.ID{Epoch: 7, Seq: 1, Slot: 0}}}}}}).encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		flown, err := decodeLease(1, resealed(body), epochs{{0, 7}})
		if err != nil {
			return
		}
		again, err := decodeLease(1, flown.encode(), epochs{{0, 7}})
		if err != nil || !reflect.DeepEqual(flown, again) {
			t.Errorf("%+v became %+v: %v", flown, again, err)
		}
	})
}

func FuzzField(f *testing.F) {
	one := field{number: 3, space: "spa_1", key: "vip", id: "aud_vip", class: domain.ClassAudience, members: 2, lastEvent: noon, watch: exitWindow{since: noon, swept: []byte("k")}}
	f.Add(unsealed(one.encode(nil)))
	f.Fuzz(func(t *testing.T, body []byte) {
		x, err := decodeField(3, rekeyed(body, fieldKey(3)))
		if err != nil {
			return
		}
		again, err := decodeField(3, x.encode(nil))
		if err != nil || !reflect.DeepEqual(x, again) {
			t.Errorf("%+v became %+v: %v", x, again, err)
		}
	})
}

func FuzzSample(f *testing.F) {
	s := Sample{At: noon, Received: 7, DataBytes: 1 << 30, Audiences: []AudienceSample{{Members: 3, number: 1}}}
	f.Add(unsealed(s.encode(nil)))
	f.Add(unsealed((&ledger{users: 7}).encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, err := decodeSample(resealed(body)); err == nil {
			again, err := decodeSample(s.encode(nil))
			if err != nil || !reflect.DeepEqual(s, again) {
				t.Errorf("%+v became %+v: %v", s, again, err)
			}
		}
		if l, err := decodeLedger(resealed(body)); err == nil {
			again, err := decodeLedger(l.encode())
			if l.uncounted = false; err != nil || !reflect.DeepEqual(l, again) {
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
	rec, err := decodeRecord(9, appendEvent(nil, e))
	must(t, err)
	if !reflect.DeepEqual(rec.event, e) {
		t.Errorf("got %+v\nwant %+v", rec.event, e)
	}
}

func TestAnEventOfTheFirstFormatIsRead(t *testing.T) {
	e := trait("ann", "zendesk", 3, "a", "1.50", "b", `"x"`)
	frame := appendEvent(nil, e)
	r := wire.NewReader(frame[1:])
	r.Time()
	r.Time()
	times := len(frame) - r.Len()
	old := append([]byte{recordEvent1}, frame[1:times]...)
	old = append(old, frame[times+3:len(frame)-4]...) // without source, shift and route
	rec, err := decodeRecord(9, wire.Seal(old, 0))
	must(t, err)
	if !reflect.DeepEqual(rec.event, e) {
		t.Errorf("got %+v\nwant %+v", rec.event, e)
	}
	if got := receiptOf(old, 0); got != e.Received.UnixNano() {
		t.Errorf("its receipt is read as %d", got)
	}
}

func TestOneChangedBitIsNoticed(t *testing.T) {
	frame := appendEvent(nil, event("ann", "vip", true, 1))
	for i := range frame {
		broken := bytes.Clone(frame)
		broken[i] ^= 1
		if _, err := decodeRecord(1, broken); err == nil {
			t.Fatalf("a bit changed in byte %d of %d went unnoticed", i, len(frame))
		}
	}
}

func TestADamagedRowHarmsNobodyElse(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	b.drain()
	b.said()
	must(t, b.run(t.Context(), func(x *batch) error {
		key := rowKey(userKey("ann"), 0)
		row := bytes.Clone(x.rows.Get(key))
		row[3] ^= 0xFF
		return x.rows.Put(key, row)
	}, nil))
	b.receive(event("ann", "vip", true, 2), event("bob", "vip", false, 2))
	b.drain()
	b.wantSaid("bob.vip=false ann.vip=true") // in order of partition
	n := 0
	must(t, b.run(t.Context(), func(x *batch) error {
		n = x.tx.Bucket(bucketDamaged).Stats().KeyN
		return nil
	}, nil))
	if n != 1 {
		t.Errorf("%d rows set aside", n)
	}
}
