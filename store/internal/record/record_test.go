package record

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/wire"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noon is when everything in these tests is received.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// trait is an event of a SQL trait with columns, each a name and a value.
func trait(columns ...string) *domain.Event {
	e := &domain.Event{
		Received: noon.Add(time.Hour), Time: noon, Call: domain.CallIdentify, User: domain.Identifier{ID: "ann"}, MessageID: "m-1",
		Class: domain.ClassTrait, Space: "spa_1", Key: "zendesk", ComputationID: "tra_zendesk", Flag: domain.FlagSilent,
		Raw: []byte(`{"traits":{`),
	}
	for i := 0; i < len(columns); i += 2 {
		e.Raw = append(e.Raw, '"')
		e.Raw = append(append(e.Raw, columns[i]...), `":`...)
		e.Columns = append(e.Columns, domain.Column{Name: columns[i], Value: domain.Span{Off: uint32(len(e.Raw)), Len: uint32(len(columns[i+1]))}})
		e.Raw = append(append(e.Raw, columns[i+1]...), ',')
	}
	e.Raw = append(e.Raw[:len(e.Raw)-1], "}}"...)
	e.Object = domain.Span{Off: 10, Len: uint32(len(e.Raw) - 11)}
	return e
}

// enter is an event that says that ann is in an audience.
func enter() *domain.Event {
	e := trait("vip", "true")
	e.Class, e.Key, e.ComputationID, e.Flag, e.Columns = domain.ClassAudience, "vip", "aud_vip", domain.FlagIn, nil
	return e
}

func consenting(e *domain.Event, given ...string) *domain.Event {
	e.Consent = &domain.Preferences{Given: given}
	return e
}

func traced(e *domain.Event) *domain.Event {
	e.Trace = &domain.Trace{ID: [16]byte{1, 15: 9}, Sampled: true}
	return e
}

func leftOut(e *domain.Event) *domain.Event {
	e.LeftOut = []domain.Column{{Name: "score", Value: domain.Span{Off: 3, Len: 5}}}
	return e
}

// Every decoder of bytes from disk must take any bytes without a panic, and a decoded value must come out again as it
// went in.

func FuzzRecord(f *testing.F) {
	frames := [][]byte{
		AppendEvent(nil, enter()),
		AppendEvent(nil, leftOut(enter())),
		AppendEvent(nil, trait("a", "1", "b", "2")),
		AppendEvent(nil, consenting(enter(), "Advertising", "Marketing")),
		AppendEvent(nil, consenting(enter())),
		AppendEvent(nil, traced(enter())),
		AppendEvent(nil, traced(consenting(enter(), "Marketing"))),
		(&Action{Received: noon, Verb: ActionRetry, IDs: []domain.ID{{Epoch: 0, Seq: 1, Slot: 0}, {Epoch: 0, Seq: 7, Slot: 3}}}).Encode(nil),
		(&Repair{Received: noon, Missing: []Told{{User: "ann", Field: 3}}}).Encode(nil),
		AppendOrder(nil, &Order{Received: noon, Time: noon, Verb: OrderImport, Field: 2, Key: "vip", Targets: []JobTarget{{User: "ann", In: true}, {User: "bea", In: false}}}),
		AppendOrder(nil, &Order{Received: noon, Verb: OrderAdopt, IDs: []domain.ID{{Epoch: 0, Seq: 4, Slot: 0}}, Other: 9}),
		wire.Seal([]byte{recordLost}, 0), wire.Seal([]byte{RecordErased}, 0),
	}
	if frame, err := AppendRules(nil, &domain.Rules{Defaults: domain.Policy{Send: domain.SendBoth, EnterEvent: "Audience Entered"}}); err == nil {
		frames = append(frames, frame)
	}
	for _, frame := range frames {
		if _, err := DecodeRecord(1, frame); err != nil {
			f.Fatalf("a seed is no record: %v", err)
		}
		f.Add(unsealed(frame))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rec, err := DecodeRecord(1, resealed(body))
		if err != nil {
			return
		}
		frame := encodeRecord(&rec)
		again, err := DecodeRecord(1, frame)
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

func encodeRecord(rec *Record) []byte {
	switch {
	case rec.Event != nil:
		return AppendEvent(nil, rec.Event)
	case rec.Action != nil:
		return rec.Action.Encode(nil)
	case rec.Repair != nil:
		return rec.Repair.Encode(nil)
	case rec.Order != nil:
		return AppendOrder(nil, rec.Order)
	case rec.Rules != nil:
		frame, err := AppendRules(nil, rec.Rules)
		if err != nil {
			panic(err)
		}
		return frame
	case rec.Erased:
		return wire.Seal([]byte{RecordErased}, 0)
	}
	return wire.Seal([]byte{recordLost}, 0)
}

func TestAnEventSurvivesTheRecord(t *testing.T) {
	e := trait("a", "1.50", "b", `"x"`)
	e.Anonymous, e.Email = domain.Identifier{ID: "anon", Fault: ""}, domain.Identifier{ID: "a@example.com", Fault: "id_too_long"}
	e.TimeSource, e.ClockShift, e.Tracking = domain.TimeUncorrected, -3*time.Hour, true
	e.Name, e.PassThrough, e.Fault, e.Sentence = "Name", true, "undetermined", "no flag"
	e.ClockAhead = 366 * 24 * time.Hour
	rec, err := DecodeRecord(9, AppendEvent(nil, e))
	must(t, err)
	if !reflect.DeepEqual(rec.Event, e) {
		t.Errorf("got %+v\nwant %+v", rec.Event, e)
	}
}

func TestAnEventOfTheFirstFormatIsRead(t *testing.T) {
	e := trait("a", "1.50", "b", `"x"`)
	frame := AppendEvent(nil, e)
	r := wire.NewReader(frame[1:])
	r.Time()
	r.Time()
	times := len(frame) - r.Len()
	old := append([]byte{recordEvent1}, frame[1:times]...)
	old = append(old, frame[times+3:len(frame)-4]...) // without source, shift and route
	rec, err := DecodeRecord(9, wire.Seal(old, 0))
	must(t, err)
	if !reflect.DeepEqual(rec.Event, e) {
		t.Errorf("got %+v\nwant %+v", rec.Event, e)
	}
	if got := receiptOf(old, 0); got != e.Received.UnixNano() {
		t.Errorf("its receipt is read as %d", got)
	}
}

func TestOneChangedBitIsNoticed(t *testing.T) {
	frame := AppendEvent(nil, enter())
	for i := range frame {
		broken := bytes.Clone(frame)
		broken[i] ^= 1
		if _, err := DecodeRecord(1, broken); err == nil {
			t.Fatalf("a bit changed in byte %d of %d went unnoticed", i, len(frame))
		}
	}
}

// resealed makes fuzzed bytes pass the checksum, or the fuzzer would never get behind it.
func resealed(b []byte) []byte { return wire.Seal(bytes.Clone(b), 0) }

// unsealed is what resealed was before: a seed with its checksum in it would have one too many.
func unsealed(frame []byte) []byte { return frame[:len(frame)-4] }
