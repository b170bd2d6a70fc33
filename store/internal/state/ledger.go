package state

import (
	"encoding/binary"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// Ledger is the two conservation laws and a few gauges. It is written in the same transaction as the rows that it
// counts.
type Ledger struct {
	Events     domain.EventLedger
	Changes    domain.ChangeLedger
	Users      uint64
	Rejected   uint64
	Tombstones uint64
	Damaged    uint64
	Backlog    domain.Backlog
	Uncounted  bool // read from a version that did not count the backlog; see LoadCounted
}

// terms lists the numbers in the order of the frame. Version 1 had no backlog. Version 2 has nothing withheld, and is
// still written where nothing is, so that an older program reads it.
func (l *Ledger) terms() [28]*uint64 {
	e, c := &l.Events, &l.Changes
	return [28]*uint64{
		&e.Accepted, &e.Transitions, &e.Unchanged, &e.Duplicate, &e.Stale, &e.Ignored, &e.Parked, &e.Discarded,
		&c.Created, &c.Delivered, &c.Superseded, &c.Cancelled, &c.Dropped, &c.Expired, &c.Forgotten, &c.Pending, &c.Held, &c.Parked,
		&e.Lost, &c.Lost,
		&l.Users, &l.Rejected, &l.Tombstones, &l.Damaged,
		&l.Backlog.Users, &l.Backlog.Events, &l.Backlog.Members,
		&c.Withheld,
	}
}

const ledgerVersion byte = 3

// encode returns the frame of the ledger.
func (l *Ledger) Encode() []byte {
	terms := l.terms()
	buf, written := []byte{ledgerVersion}, terms[:]
	if l.Changes.Withheld == 0 {
		buf[0], written = 2, terms[:27]
	}
	for _, n := range written {
		buf = wire.AppendUint(buf, *n)
	}
	return wire.Seal(buf, 0)
}

// DecodeLedger reads a ledger of any version. Uncounted is set for one without a backlog.
func DecodeLedger(frame []byte) (l Ledger, err error) {
	version, terms := ledgerVersion, l.terms()
	known := terms[:]
	switch {
	case len(frame) > 0 && frame[0] == 1:
		version, known, l.Uncounted = 1, terms[:24], true
	case len(frame) > 0 && frame[0] == 2:
		version, known = 2, terms[:27]
	}
	r, err := wire.Unseal(frame, version)
	if err != nil {
		return l, fmt.Errorf("read the ledger: %w", err)
	}
	for _, n := range known {
		*n = r.Uint()
	}
	return l, r.Done()
}

// Deletes counts the changes that delete users at MoEngage.
//
//	meta: day, asked, pending, held, parked, accepted (8 bytes each)
type Deletes struct {
	Day      uint64 // days since 1970, UTC: of the newest that was asked for
	Asked    uint64 // on that day
	Pending  uint64
	Held     uint64
	Parked   uint64
	Accepted uint64 // unix second in which MoEngage accepted the newest, or may have
}

func (d *Deletes) terms() [6]*uint64 {
	return [6]*uint64{&d.Day, &d.Asked, &d.Pending, &d.Held, &d.Parked, &d.Accepted}
}

func readDeletes(v []byte) (d Deletes) {
	for _, n := range d.terms() {
		if len(v) >= 8 {
			*n, v = binary.BigEndian.Uint64(v), v[8:]
		}
	}
	return d
}

// Count adds n to the deletes in a state.
func (d *Deletes) Count(s domain.State, n int) {
	switch s {
	case domain.StatePending:
		d.Pending = uint64(max(int(d.Pending)+n, 0))
	case domain.StateHeld:
		d.Held = uint64(max(int(d.Held)+n, 0))
	case domain.StateParked:
		d.Parked = uint64(max(int(d.Parked)+n, 0))
	}
}
