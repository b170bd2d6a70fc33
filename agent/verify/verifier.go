package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"personasync/agent/api"
	"personasync/scheduler"
	"personasync/store"
	syncer "personasync/sync"
)

// Verifier verifies, one computation at a time. Its methods may be called concurrently.
type Verifier struct {
	store  *store.Store
	reader *syncer.Reader
	log    *slog.Logger
	busy   sync.Mutex // held during a verification: MoEngage's limit on reading back is the workspace's
}

// New returns a Verifier of what s says was sent, which asks MoEngage as c says. Its caller closes it.
func New(s *store.Store, c syncer.Config, log *slog.Logger) *Verifier {
	return &Verifier{store: s, reader: syncer.NewReader(c), log: log}
}

// Reconfigure has it ask as c says from now on.
func (v *Verifier) Reconfigure(c syncer.Config) { v.reader.Reconfigure(c) }

// Close closes idle connections to MoEngage. It is called after the last verification.
func (v *Verifier) Close() { v.reader.Close() }

// Verify does one verification. progress may be nil; it is called with the users done and those to do. While another one
// is in progress it is store.ErrUnderway. A computation of which MoEngage tells nothing is api.ErrUnreadable. A failure
// is recorded; what ctx cuts off is not, so that the result of the last one stays.
func (v *Verifier) Verify(ctx context.Context, o api.VerifyOrder, progress func(done, total int64)) (*api.VerifyReport, error) {
	if !v.busy.TryLock() {
		return nil, fmt.Errorf("%w: another verification is under way, and the limit on reading back is the workspace's: wait for it", store.ErrUnderway)
	}
	defer v.busy.Unlock()
	r, err := v.begin(o)
	if err != nil {
		return nil, err
	}
	run := &verification{Verifier: v, order: o, report: r, progress: progress}
	err = run.all(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && r.Asked > 0 {
		err = fmt.Errorf("after %d of %d users: %w", r.Asked, run.total, err)
	}
	r.At = time.Now().UTC().Truncate(time.Second)
	if err != nil {
		r.Code, r.Error = failureCode(err), err.Error()
		return nil, errors.Join(err, v.store.SetVerification(ctx, r.Verification))
	}
	r.Agreement = agreement(&r.Verification)
	return r, v.store.SetVerification(ctx, r.Verification)
}

// begin finds the computation.
func (v *Verifier) begin(o api.VerifyOrder) (*api.VerifyReport, error) {
	sends, err := v.store.SendsAttributes(o.Key)
	if err != nil {
		return nil, err
	}
	if !sends {
		return nil, fmt.Errorf("%w: %s leaves neither as an attribute nor in a list, and MoEngage tells of attributes alone", api.ErrUnreadable, o.Key)
	}
	seen, err := v.store.Computations()
	if err != nil {
		return nil, err
	}
	r := &api.VerifyReport{Differences: []api.Difference{}}
	for _, c := range seen {
		if c.Key == o.Key || c.ID == o.Key {
			r.Key, r.ID = c.Key, c.ID
		}
	}
	return r, nil
}

// failureCode is the code under which a failed verification is recorded: that of MoEngage's answer, if it
// was one.
func failureCode(err error) string {
	if refused := (*syncer.ReadError)(nil); errors.As(err, &refused) {
		return refused.Code
	}
	return scheduler.CodeFailed
}
