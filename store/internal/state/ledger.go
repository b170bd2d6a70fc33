package state

import (
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

// Encode returns the frame of the ledger.
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
