package syncer

import (
	"context"
	"time"

	"personasync/store/domain"
)

// Outbox is the source of changes and the destination of their outcomes. *store.Store implements it. Tests have
// another implementation, which fails on purpose.
type Outbox interface {
	// Take commits a lease of the due changes that TakeOptions.Fit accepts. Nil means that nothing is due. Until
	// the lease is settled its users are in no other lease of the endpoint.
	Take(context.Context, domain.TakeOptions) (*domain.Lease, domain.Next, error)

	// Settle writes the outcome of a lease. Calls for different leases may be concurrent. After an error it is
	// called again.
	Settle(context.Context, domain.Settlement) error

	// Wake returns a channel that receives after a commit makes something due for an endpoint. A slow receiver
	// may miss repetitions, but never the last.
	Wake(domain.Endpoint) <-chan struct{}

	// Sent returns the numbers sent in each second since then.
	Sent(since time.Time) ([]domain.SentSecond, error)
}
