package datadir

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
)

func TestRoomHasTwoMarksSoThatItDoesNotFlutter(t *testing.T) {
	const mib = 1 << 20
	plenty := int64(1 << 40)
	for _, tc := range []struct {
		name                string
		space               Space
		fromTaking, fromNot bool // whether events are refused, coming from either side
	}{
		{"no limit, and plenty free", Space{FreeBytes: plenty, FloorBytes: 256 * mib}, false, false},
		{"below both marks of the limit", Space{DataBytes: 84 * mib, MaxDataBytes: 100 * mib, FreeBytes: plenty}, false, false},
		{"between the marks of the limit", Space{DataBytes: 87 * mib, MaxDataBytes: 100 * mib, FreeBytes: plenty}, false, true},
		{"above both marks of the limit", Space{DataBytes: 91 * mib, MaxDataBytes: 100 * mib, FreeBytes: plenty}, true, true},
		{"what is not applied counts three times", Space{DataBytes: 80 * mib, UnappliedBytes: 6 * mib, MaxDataBytes: 100 * mib, FreeBytes: plenty}, true, true},
		{"above both marks of the disk", Space{FreeBytes: 330 * mib, FloorBytes: 256 * mib}, false, false},
		{"between the marks of the disk", Space{FreeBytes: 300 * mib, FloorBytes: 256 * mib}, false, true},
		{"below both marks of the disk", Space{FreeBytes: 255 * mib, FloorBytes: 256 * mib}, true, true},
		{"the state has room inside", Space{FreeBytes: 100 * mib, StateBytes: 900 * mib, LiveBytes: 500 * mib, FloorBytes: 256 * mib}, false, false},
		{"the state has room inside, and the inbox none", Space{FreeBytes: 60 * mib, StateBytes: 900 * mib, LiveBytes: 500 * mib, FloorBytes: 256 * mib}, true, true},
		{"the disk holds, but not what is still to be applied", Space{FreeBytes: 400 * mib, UnappliedBytes: 100 * mib, FloorBytes: 256 * mib}, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for from, want := range map[bool]bool{false: tc.fromTaking, true: tc.fromNot} {
				r := NewDiskBudget(tc.space.MaxDataBytes)
				if from {
					r.Full.Store(&FullError{Reason: "before"})
				}
				changed := r.Judge(tc.space, time.Now())
				err := r.Refusal()
				if got := err != nil; got != want || changed != (from != want) {
					t.Errorf("refusing before %v: refused %v (%v), changed %v", from, got, err, changed)
				}
				if err != nil && !errors.Is(err, domain.ErrFull) {
					t.Errorf("%v is no domain.ErrFull", err)
				}
			}
		})
	}
}

func TestANoSpaceErrorRefusesForAMoment(t *testing.T) {
	r, now := NewDiskBudget(0), time.Now()
	r.Note(1, Translate(fmt.Errorf("file resize error: %s", syscall.ENOSPC))) // as bbolt says it
	fine := Space{FreeBytes: 1 << 40}
	if r.Judge(fine, now); r.Refusal() == nil {
		t.Error("a quota that statfs does not show is forgotten at once")
	}
	if r.Judge(fine, now.Add(refuseFor+time.Second)); r.Refusal() != nil {
		t.Errorf("still refused: %v", r.Refusal())
	}
}

// TestTheEndOfADiskIsKeptForWhatMoEngageAnswers: what the state has free inside counts, and is read only where it decides.
func TestTheEndOfADiskIsKeptForWhatMoEngageAnswers(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		free, floor, spare int64
		keep               Reserve
		tight, asked       bool
	}{
		{64 * mib, 256 * mib, 0, ForLeases, false, false}, // half of 128 MiB at most
		{64*mib - 1, 256 * mib, 0, ForLeases, true, true},
		{63 * mib, 256 * mib, mib - 1, ForLeases, true, true},
		{63 * mib, 256 * mib, mib, ForLeases, false, true},
		{16 * mib, 256 * mib, 0, ForOutcomes, false, false}, // an eighth
		{15 * mib, 256 * mib, 0, ForOutcomes, true, true},
		{20 * mib, 40 * mib, 0, ForLeases, false, false}, // of a small disk
		{19 * mib, 40 * mib, 0, ForLeases, true, true},
	} {
		asked := false
		err := tight(tc.free, tc.floor, func() int64 { asked = true; return tc.spare }, tc.keep)
		if errors.Is(err, domain.ErrFull) != tc.tight || (err != nil) != tc.tight || asked != tc.asked {
			t.Errorf("%+v: %v, asked %v", tc, err, asked)
		}
	}
}
