package state

import (
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// Ledger is the two conservation laws and a few gauges, written in the same transaction as what it counts.
type Ledger struct {
	Events     domain.EventLedger
	Changes    domain.ChangeLedger
	Users      uint64
	Rejected   uint64
	Tombstones uint64
	Damaged    uint64
	Backlog    domain.Backlog
	Uncounted  bool // read from a version that did not count the backlog: see countBacklog
}

// terms are the numbers of a ledger's frame; version 1 had no backlog at its end.
func (l *Ledger) terms() [27]*uint64 {
	e, c := &l.Events, &l.Changes
	return [27]*uint64{
		&e.Accepted, &e.Transitions, &e.Unchanged, &e.Duplicate, &e.Stale, &e.Ignored, &e.Parked, &e.Discarded,
		&c.Created, &c.Delivered, &c.Superseded, &c.Cancelled, &c.Dropped, &c.Expired, &c.Forgotten, &c.Pending, &c.Held, &c.Parked,
		&e.Lost, &c.Lost,
		&l.Users, &l.Rejected, &l.Tombstones, &l.Damaged,
		&l.Backlog.Users, &l.Backlog.Events, &l.Backlog.Members,
	}
}

const ledgerVersion byte = 2

func (l *Ledger) Encode() []byte {
	buf := []byte{ledgerVersion}
	for _, n := range l.terms() {
		buf = wire.AppendUint(buf, *n)
	}
	return wire.Seal(buf, 0)
}

func DecodeLedger(frame []byte) (l Ledger, err error) {
	version, terms := ledgerVersion, l.terms()
	known := terms[:]
	if len(frame) > 0 && frame[0] == 1 {
		version, known, l.Uncounted = 1, terms[:24], true
	}
	r, err := wire.Unseal(frame, version)
	if err != nil {
		return l, fmt.Errorf("the ledger: %w", err)
	}
	for _, n := range known {
		*n = r.Uint()
	}
	return l, r.Done()
}
