package store

import (
	"context"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/orders"
	"personasync/store/internal/record"
)

// WithOperator returns a context in which orders are those of an operator with this login. The journal names them.
func WithOperator(ctx context.Context, login string) context.Context {
	return orders.WithOperator(ctx, login)
}

// Orders of an operator. Each returns once it is applied and so survives a crash. The error of one that was cut short
// says how much of it is on disk, and what to do. progress may be nil; it is told of users done and users to do.

type (
	// Import is a full list of the members of an audience.
	Import = orders.Import
	// MembershipReport says what an order on a computation comes to.
	MembershipReport = orders.Report
)

// Errors of orders.
var (
	// ErrNoMembers says that a computation is a trait, which has no members.
	ErrNoMembers = orders.ErrNoMembers
	// ErrReferredTo says that something still refers to a computation that is to be removed.
	ErrReferredTo = orders.ErrReferredTo
)

// CaughtUp is Applied for an order that is still to be begun: its error says that nothing was done, and what to do.
func (s *Store) CaughtUp(ctx context.Context) error { return s.orders.CaughtUp(ctx) }

// Retry makes parked changes pending again, as if they had never been tried. A change that is not parked by then is left
// alone, and so is an event that could not be used.
func (s *Store) Retry(ctx context.Context, now time.Time, ids []domain.ID) error {
	return s.orders.Retry(ctx, now, ids)
}

// Drop removes pending, held and parked changes, and events that could not be used. Memberships, and what MoEngage was
// last sent, stay. A change that is in a request under way, or completed, is left alone.
func (s *Store) Drop(ctx context.Context, now time.Time, ids []domain.ID) error {
	return s.orders.Drop(ctx, now, ids)
}

// ReadAgain has parked events read again by read. It gets the event as it was read at its receipt, and may be called from
// any goroutine of the caller. An event that can be used now has left the parked ones; one that cannot stays there under
// its id, and these ids are returned. Ids of anything else are passed over.
func (s *Store) ReadAgain(ctx context.Context, now time.Time, ids []domain.ID, read func(*domain.Event) *domain.Event) (parked []domain.ID, err error) {
	return s.orders.ReadAgain(ctx, now, ids, read)
}

// ForeseeAgain returns which of parked events ReadAgain would leave parked, and changes nothing.
func (s *Store) ForeseeAgain(ids []domain.ID, read func(*domain.Event) *domain.Event) (parked []domain.ID, err error) {
	return s.orders.ForeseeAgain(ids, read)
}

// Repair queues attributes again that MoEngage was found not to hold, and returns once that is on disk. An attribute of
// which a change is pending by the time it is applied is left alone, because it is being sent anyway.
func (s *Store) Repair(ctx context.Context, now time.Time, missing []record.Told) error {
	return s.orders.Repair(ctx, now, missing)
}

// Import compares the list with the memberships that are kept, and orders what differs: every user of the list is a
// member at its time, and nobody else. An import that was cut short is given again. It does nothing twice, because what
// it has done bears its time.
func (s *Store) Import(ctx context.Context, o Import) (MembershipReport, error) {
	return s.orders.Import(ctx, o)
}

// Reconcile queues again what MoEngage should hold of every member and ex-member of a computation, or of every user with
// a value.
func (s *Store) Reconcile(ctx context.Context, key string, events, dryRun bool, progress func(done, total int64)) (MembershipReport, error) {
	return s.orders.Reconcile(ctx, key, events, dryRun, progress)
}

// ReconcileTold is Reconcile for the users of whom MoEngage accepted a change between two times, as far back as
// retention.delivered keeps the history.
func (s *Store) ReconcileTold(ctx context.Context, key string, since, until time.Time, events, dryRun bool, progress func(done, total int64)) (MembershipReport, error) {
	return s.orders.ReconcileTold(ctx, key, since, until, events, dryRun, progress)
}

// CloseAudience makes every member an ex-member as of now. The mass-exit guard does not hold these exits, because the
// operator has decided.
func (s *Store) CloseAudience(ctx context.Context, key string, events, dryRun bool, progress func(done, total int64)) (MembershipReport, error) {
	return s.orders.CloseAudience(ctx, key, events, dryRun, progress)
}

// Decide ends what the mass-exit guard holds of an audience. Released, its exits are sent; discarded, all users that left
// in the window are members again. A new window begins. A discard that was cut short is finished first.
func (s *Store) Decide(ctx context.Context, key string, discard, dryRun bool, progress func(done, total int64)) (MembershipReport, error) {
	return s.orders.Decide(ctx, key, discard, dryRun, progress)
}

// Adopt makes the computation id the successor of the audience key. An order that was cut short is given again. A pause of
// one of the two holds both from then on.
func (s *Store) Adopt(ctx context.Context, key, id string, dryRun bool, progress func(done, total int64)) (MembershipReport, error) {
	if !dryRun {
		if err := s.widenPauses(ctx, key, id); err != nil {
			return MembershipReport{}, err
		}
	}
	return s.orders.Adopt(ctx, key, id, dryRun, progress)
}

// CompareConsent compares every user with the consent that the rules ask for, if they ask for other categories than
// before, and reports whether they do. A value sent of one without consent is taken back, and a withheld one
// of one with it is sent. One that was cut short goes on where it stopped.
func (s *Store) CompareConsent(ctx context.Context) (some bool, err error) {
	return s.orders.CompareConsent(ctx)
}

// Remove removes the computation of a key or an id, with its columns, or else the forwarded trait of a name. It must have
// no members and no pending, held or parked changes.
func (s *Store) Remove(ctx context.Context, key string, dryRun bool) (MembershipReport, error) {
	return s.orders.Remove(ctx, key, dryRun)
}
