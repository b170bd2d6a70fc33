package record

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// seal returns a frame of a kind with a body.
func seal(kind byte, body ...byte) []byte { return wire.Seal(append([]byte{kind}, body...), 0) }

func TestEveryRecordIsReadAsItWasWritten(t *testing.T) {
	ids := []domain.ID{{Seq: 1}, {Seq: 7, Slot: 3}, {Seq: 1 << 40, Slot: 1<<16 - 1}}
	rules, err := AppendRules(nil, &domain.Rules{OnDelete: "ignore", MessageIDs: time.Hour, Defaults: domain.Policy{Send: domain.SendBoth}})
	must(t, err)
	late := enter()
	late.ClockAhead = time.Hour // without left-out values before it
	refusing := *late
	var one Decoder // as the writer has one for many records
	for _, tc := range []struct {
		name  string
		frame []byte
		want  Record
	}{
		{"an event", AppendEvent(nil, enter()), Record{Event: enter()}},
		{"an event with columns", AppendEvent(nil, trait("a", "1", "b", `"x"`)), Record{Event: trait("a", "1", "b", `"x"`)}},
		{"an event with values left out", AppendEvent(nil, leftOut(enter())), Record{Event: leftOut(enter())}},
		{"an event of a clock that jumped", AppendEvent(nil, late), Record{Event: late}},
		{"an event with consent", AppendEvent(nil, consenting(enter(), "Advertising", "Marketing")), Record{Event: consenting(enter(), "Advertising", "Marketing")}},
		{"an event that refuses every category", AppendEvent(nil, consenting(&refusing)), Record{Event: consenting(&refusing)}},
		{"an event with a trace", AppendEvent(nil, traced(enter())), Record{Event: traced(enter())}},
		{"an event with a trace and values left out", AppendEvent(nil, traced(leftOut(enter()))), Record{Event: traced(leftOut(enter()))}},
		{"an event with a trace and consent", AppendEvent(nil, traced(consenting(enter(), "Marketing"))), Record{Event: traced(consenting(enter(), "Marketing"))}},
		{"rules", rules, Record{Rules: &domain.Rules{OnDelete: "ignore", MessageIDs: time.Hour, Defaults: domain.Policy{Send: domain.SendBoth}}}},
		{"a retry", (&Action{Received: noon, Verb: ActionRetry, IDs: ids}).Encode(nil), Record{Action: &Action{Received: noon, Verb: ActionRetry, IDs: ids}}},
		{"a drop of nothing", (&Action{Received: noon, Verb: ActionDrop}).Encode(nil), Record{Action: &Action{Received: noon, Verb: ActionDrop}}},
		{"a repair", (&Repair{Received: noon, Missing: []Told{{User: "ann", Field: 3}, {User: "bob", Field: 1 << 20}}}).Encode(nil),
			Record{Repair: &Repair{Received: noon, Missing: []Told{{User: "ann", Field: 3}, {User: "bob", Field: 1 << 20}}}}},
		{"an import", AppendOrder(nil, &Order{Verb: OrderImport, Received: noon, Time: noon.Add(time.Minute), Events: true, Field: 9, Targets: []JobTarget{{User: "ann", In: true}, {User: "bob"}}}),
			Record{Order: &Order{Verb: OrderImport, Received: noon, Time: noon.Add(time.Minute), Events: true, Field: 9, Targets: []JobTarget{{User: "ann", In: true}, {User: "bob"}}}}},
		{"a name", AppendOrder(nil, &Order{Verb: OrderName, Received: noon, Key: "vip"}), Record{Order: &Order{Verb: OrderName, Received: noon, Key: "vip", Targets: []JobTarget{}}}},
		{"a release", AppendOrder(nil, &Order{Verb: OrderRelease, Received: noon, IDs: ids}), Record{Order: &Order{Verb: OrderRelease, Received: noon, IDs: ids, Targets: []JobTarget{}}}},
		{"an adoption", AppendOrder(nil, &Order{Verb: OrderAdopt, Received: noon, Other: 12}), Record{Order: &Order{Verb: OrderAdopt, Received: noon, Other: 12, Targets: []JobTarget{}}}},
		{"an order of a known operator", AppendOrder(nil, &Order{Verb: OrderAdopt, Received: noon, Other: 12, By: "olga"}), Record{Order: &Order{Verb: OrderAdopt, Received: noon, Other: 12, By: "olga", Targets: []JobTarget{}}}},
		{"another order has no other field", AppendOrder(nil, &Order{Verb: OrderForget, Received: noon, Other: 12}), Record{Order: &Order{Verb: OrderForget, Received: noon, Targets: []JobTarget{}}}},
		{"a parked event in a new reading", (&Reread{Received: noon, ID: ids[1], Event: enter()}).Encode(nil),
			Record{Again: &Reread{Received: noon, ID: ids[1], Event: enter(), Frame: AppendEvent(nil, enter())}}},
		{"an erased record", seal(RecordErased), Record{Erased: true}},
		{"a lost record", InboxRecords.Lost, Record{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := DecodeRecord(5, tc.frame)
			must(t, err)
			if tc.want.Seq = 5; !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v\nwant %+v", got, tc.want)
			}
			for range 2 {
				if got, err := one.Decode(5, tc.frame); err != nil || !reflect.DeepEqual(got, tc.want) {
					t.Errorf("behind others got %+v, %v\nwant %+v", got, err, tc.want)
				}
			}
			if err := InboxRecords.Check(tc.frame); err != nil {
				t.Errorf("the log refuses it: %v", err)
			}
		})
	}
}

func TestARecordThatCannotBeIsRefused(t *testing.T) {
	many := make([]domain.ID, MaxActionIDs+1)
	for i := range many {
		many[i].Seq = uint64(i + 1)
	}
	missing := make([]Told, MaxRepair+1)
	frame := AppendEvent(nil, enter())
	number := func(n uint64) []byte { return wire.AppendUint(nil, n) }
	header := wire.AppendTime(nil, noon)
	for _, tc := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"nothing", nil, wire.ErrDamaged},
		{"a kind of a newer version", seal(100), wire.ErrNewer},
		{"no kind", seal(0), wire.ErrNewer},
		{"a frame that is cut short", frame[:len(frame)-1], wire.ErrDamaged},
		{"a lost record with a body", seal(recordLost, 1), wire.ErrDamaged},
		{"an erased record with a body", seal(RecordErased, 1), wire.ErrDamaged},
		{"rules that are no JSON", wire.Seal(wire.AppendBytes([]byte{recordRules}, []byte("{")), 0), wire.ErrDamaged},
		{"an action on too many changes", (&Action{Verb: ActionDrop, IDs: many}).Encode(nil), wire.ErrDamaged},
		{"an action on more changes than it has", wire.Seal(append(append(append([]byte{recordAction}, header...), byte(ActionDrop)), number(9)...), 0), wire.ErrDamaged},
		{"a repair of too many attributes", (&Repair{Missing: missing}).Encode(nil), wire.ErrDamaged},
		{"a repair of more attributes than it has", wire.Seal(append(append([]byte{recordRepair}, header...), number(9)...), 0), wire.ErrDamaged},
		{"a new reading without an event", wire.Seal(wire.AppendBytes(PutID(append([]byte{recordAgain}, header...), domain.ID{Seq: 1}), seal(RecordErased)), 0), wire.ErrDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := DecodeRecord(1, tc.frame); !errors.Is(err, tc.want) {
				t.Errorf("the error is %v, want %v", err, tc.want)
			}
			if err := InboxRecords.Check(tc.frame); err == nil {
				t.Error("the log takes it")
			}
		})
	}
	if _, err := DecodeRecord(1, (&Action{Verb: ActionDrop, IDs: many[1:]}).Encode(nil)); err != nil {
		t.Errorf("an action on as many changes as there may be: %v", err)
	}
	if _, err := DecodeRecord(1, (&Repair{Missing: missing[1:]}).Encode(nil)); err != nil {
		t.Errorf("a repair of as many attributes as there may be: %v", err)
	}
}

func TestOnlyAnEventHasAReceiptToFind(t *testing.T) {
	event := AppendEvent(nil, enter())
	for name, tc := range map[string]struct {
		frame []byte
		want  int64
	}{
		"an event":              {event, noon.Add(time.Hour).UnixNano()},
		"an event in pieces":    {event[:1], 9},
		"a receipt cut short":   {event[:2], 9},
		"another kind":          {(&Action{Received: noon}).Encode(nil), 9},
		"nothing":               {nil, 9},
		"a receipt of one byte": {append([]byte{event[0]}, wire.AppendInt(nil, 1)...), 1},
		"a lost record's frame": {InboxRecords.Lost, 9},
	} {
		if got := receiptOf(tc.frame, 9); got != tc.want {
			t.Errorf("%s: the receipt is %d, want %d", name, got, tc.want)
		}
	}
}

func TestAnOrderWeighsMoreThanAnEvent(t *testing.T) {
	event, order := AppendEvent(nil, enter()), AppendOrder(nil, &Order{Verb: OrderImport})
	if got := InboxRecords.Weigh(event); got != len(event) {
		t.Errorf("an event of %d bytes weighs %d", len(event), got)
	}
	if got := InboxRecords.Weigh(order); got != 64*len(order) {
		t.Errorf("an order of %d bytes weighs %d", len(order), got)
	}
	if InboxRecords.Weigh(nil) != 0 {
		t.Error("nothing has a weight")
	}
}

func TestARecordNamesItsCommand(t *testing.T) {
	event := enter()
	for _, tc := range []struct {
		name     string
		rec      Record
		command  string
		outsider bool
		told     *domain.Event
	}{
		{"an event", Record{Event: event}, "", false, event},
		{"a new reading", Record{Again: &Reread{Event: event}}, "", true, event},
		{"rules", Record{Rules: new(domain.Rules)}, "", true, nil},
		{"a repair", Record{Repair: new(Repair)}, "audience verify --repair", true, nil},
		{"a retry", Record{Action: &Action{Verb: ActionRetry}}, "outbox retry", true, nil},
		{"a drop", Record{Action: &Action{Verb: ActionDrop}}, "", true, nil},
		{"an import", Record{Order: &Order{Verb: OrderImport}}, "audience import", true, nil},
		{"a discard", Record{Order: &Order{Verb: OrderDiscard}}, "audience discard", true, nil},
		{"the end of a discard", Record{Order: &Order{Verb: OrderDiscarded}}, "audience discard", true, nil},
		{"a removal", Record{Order: &Order{Verb: OrderForget}}, "audience forget", true, nil},
		{"a lost record", Record{}, "", false, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.rec.OrderedBy(); got != tc.command {
				t.Errorf("it was ordered by %q, want %q", got, tc.command)
			}
			if got := tc.rec.IsOther(); got != tc.outsider {
				t.Errorf("an outsider: %v, want %v", got, tc.outsider)
			}
			if got := tc.rec.Told(); got != tc.told {
				t.Errorf("its event is %v", got)
			}
		})
	}
	if got := verb(99).String(); got != "" {
		t.Errorf("an unknown verb is called %q", got)
	}
}

func TestAnIDHasTheEpochOfItsRecord(t *testing.T) {
	epochs := Epochs{{First: 0, Epoch: 7}, {First: 100, Epoch: 8}, {First: 200, Epoch: 9}}
	for seq, want := range map[uint64]uint32{1: 7, 99: 7, 100: 8, 199: 8, 200: 9, 1 << 50: 9} {
		if got := epochs.Of(seq); got != want {
			t.Errorf("record %d has epoch %d, want %d", seq, got, want)
		}
		id := domain.ID{Epoch: want, Seq: seq, Slot: 3}
		r := wire.NewReader(PutID(nil, id))
		if got := ReadID(&r, epochs); got != id {
			t.Errorf("%+v is read as %+v", id, got)
		}
	}
	if got := Epochs(nil).Of(5); got != 0 {
		t.Errorf("without epochs it is %d", got)
	}
	r := wire.NewReader(PutID(nil, domain.ID{}))
	if got := ReadID(&r, epochs); !got.IsZero() || r.Len() != 0 {
		t.Errorf("no id is read as %+v, with %d bytes left", got, r.Len())
	}
}

// TestEqualStatementsOfConsentShareMemory, and one that cannot be read is damage each time.
func TestEqualStatementsOfConsentShareMemory(t *testing.T) {
	consenting := func(given ...string) []byte {
		e := enter()
		e.Consent = &domain.Preferences{Given: given}
		return AppendEvent(nil, e)
	}
	var d Decoder
	var said []*domain.Preferences
	for _, given := range [][]string{{"Marketing"}, {"Marketing"}, {"Marketing", "Analytics"}, nil} {
		rec, err := d.Decode(1, consenting(given...))
		if err != nil || !slices.Equal(rec.Event.Consent.Given, given) {
			t.Fatalf("%v: %+v, %v", given, rec.Event.Consent, err)
		}
		said = append(said, rec.Event.Consent)
	}
	if said[0] != said[1] || said[1] == said[2] {
		t.Error("equal statements do not share memory, or others do")
	}
	torn := resealed(append(unsealed(consenting("Marketing")), 7))
	for range 2 {
		if rec, err := d.Decode(1, torn); !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("bytes behind a statement: %+v, %v", rec.Event, err)
		}
	}
}

// TestAnEventHasRoomForItself: its frame is made without being moved, and without much more memory than it takes.
func TestAnEventHasRoomForItself(t *testing.T) {
	for name, change := range map[string]func(*domain.Event){
		"an enter": func(*domain.Event) {},
		"long names": func(e *domain.Event) {
			e.Name, e.Key, e.ComputationID, e.Space = long(300), long(300), long(300), long(300)
		},
		"long ids": func(e *domain.Event) {
			e.User.ID, e.Anonymous.ID, e.Email.ID, e.MessageID = long(512), long(512), long(512), long(100)
		},
		"a fault": func(e *domain.Event) { e.Fault, e.Sentence = long(20), long(400) },
		"much consent": func(e *domain.Event) {
			e.Consent = &domain.Preferences{Given: strings.Fields(strings.Repeat("category ", 60))}
		},
		"a large one": func(e *domain.Event) { e.Raw = []byte(long(1 << 20)) },
	} {
		e := enter()
		change(e)
		if room, takes := RoomFor(e), len(AppendEvent(nil, e)); room < takes || room > takes+160 {
			t.Errorf("%s takes %d bytes, and has room for %d", name, takes, room)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }
