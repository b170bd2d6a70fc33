package record

import (
	"errors"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// TestTheNumbersOnDiskStay: files of earlier versions have them.
func TestTheNumbersOnDiskStay(t *testing.T) {
	for name, kind := range map[string][2]byte{
		"an event of the first format": {recordEvent1, 1}, "rules": {recordRules, 2}, "lost": {recordLost, 3}, "repair": {recordRepair, 4},
		"action": {recordAction, 5}, "order": {recordOrder, 6}, "erased": {RecordErased, 7}, "event": {recordEvent, 8}, "reread": {recordAgain, 9}, "consenting": {recordConsenting, 10},
		"order of an operator": {recordOrderBy, 11}, "traced": {recordTraced, 12},
		"retry": {byte(ActionRetry), 1}, "drop": {byte(ActionDrop), 2},
	} {
		if kind[0] != kind[1] {
			t.Errorf("%s has the number %d, want %d", name, kind[0], kind[1])
		}
	}
	for number, name := range []string{"", "name", "import", "baseline", "reconcile", "close", "release", "discard", "adopt", "discarded", "forget", "consent", "delete", ""} {
		if got := verb(number).String(); got != name {
			t.Errorf("the order of the number %d is %q, want %q", number, got, name)
		}
	}
	for number, v := range []verb{OrderName, OrderImport, OrderBaseline, OrderReconcile, OrderClose, OrderRelease, OrderDiscard, OrderAdopt, OrderDiscarded, OrderForget, OrderCompare, OrderDelete} {
		if int(v) != number+1 {
			t.Errorf("the order %s has the number %d, want %d", v, v, number+1)
		}
	}
}

// TestAnOrderNeedsBytesForItsUsers: a count from damaged bytes must not become memory.
func TestAnOrderNeedsBytesForItsUsers(t *testing.T) {
	body := wire.AppendTime(wire.AppendTime([]byte{recordOrder}, noon), noon)
	body = append(body, byte(OrderImport), 0)
	body = wire.AppendString(wire.AppendUint(body, 3), "vip")
	for _, n := range []uint64{1, 1 << 40, 1<<64 - 1} {
		frame := wire.Seal(wire.AppendUint(body[:len(body):len(body)], n), 0)
		if _, err := DecodeRecord(1, frame); !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("an order of %d users without their bytes: %v", n, err)
		}
	}
}

// TestTheBoundsOfARecordAreThoseOfItsWriters: readers refuse more, so a lower bound would refuse old records.
func TestTheBoundsOfARecordAreThoseOfItsWriters(t *testing.T) {
	if MaxActionIDs != 10_000 || MaxRepair != 10_000 || OrderTargets != 512 {
		t.Errorf("an action has %d changes, a repair %d attributes, an order %d users", MaxActionIDs, MaxRepair, OrderTargets)
	}
}

// TestAnEventOfTheFirstFormatEndsWithItsBytes: what a newer version appends was not there.
func TestAnEventOfTheFirstFormatEndsWithItsBytes(t *testing.T) {
	e := leftOut(enter())
	frame := AppendEvent(nil, e)
	r := wire.NewReader(frame[1:])
	r.Time()
	r.Time()
	times := len(frame) - r.Len()
	old := append([]byte{recordEvent1}, frame[1:times]...)
	old = append(old, frame[times+3:len(frame)-4]...)
	if _, err := DecodeRecord(9, wire.Seal(old, 0)); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("the first format takes left-out values: %v", err)
	}
}

func TestAColumnCountNeedsItsBytes(t *testing.T) {
	e := enter()
	e.Raw, e.Object, e.Sentence = nil, domain.Span{}, ""
	frame := AppendEvent(nil, e)
	// columns, object off, object len, fault, sentence, raw: each an empty byte at the end
	end := len(frame) - 4
	for _, n := range []uint64{7, 1 << 40} {
		broken := wire.AppendUint(frame[:end-6:end-6], n)
		if _, err := DecodeRecord(1, wire.Seal(append(broken, frame[end-5:end]...), 0)); !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("an event of %d columns without their bytes: %v", n, err)
		}
	}
}
