package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
)

// orders carries out orders on an open store.
type orders struct {
	store *store.Store
	rules func() domain.Rules
}

// Order implements Orders.
func (d orders) Order(ctx context.Context, o api.Order, progress func(done, total int64)) (store.MembershipReport, error) {
	ctx = store.WithOperator(ctx, o.By)
	switch o.Verb {
	case "import", "baseline":
		return d.store.Import(ctx, store.Import{
			Key: o.Key, AsOf: o.AsOf, Events: o.Events, DryRun: o.DryRun, Baseline: o.Verb == "baseline",
			Create: isConfigured(d.rules(), o.Key), Users: o.Users, Progress: progress,
		})
	case "reconcile":
		return d.store.Reconcile(ctx, o.Key, o.Events, o.DryRun, progress)
	case "reconcile_told":
		return d.store.ReconcileTold(ctx, o.Key, o.Since, o.Until, o.Events, o.DryRun, progress)
	case "close":
		return d.store.CloseAudience(ctx, o.Key, o.Events, o.DryRun, progress)
	case "adopt":
		return d.store.Adopt(ctx, o.Key, o.ID, o.DryRun, progress)
	case "forget":
		return d.store.Remove(ctx, o.Key, o.DryRun)
	case "release", "discard":
		return d.store.Decide(ctx, o.Key, o.Verb == "discard", o.DryRun, progress)
	}
	return store.MembershipReport{}, fmt.Errorf("%w: there is no order %q", api.ErrUsage, o.Verb)
}

// Forget implements Orders.
func (d orders) Forget(ctx context.Context, o api.ForgetOrder) (store.ForgetReport, error) {
	switch {
	case !o.MoEngage:
		return d.store.Forget(ctx, o.User)
	case !d.rules().Deletes.Send:
		return store.ForgetReport{}, api.ErrDeletesOff
	}
	return d.store.ForgetEverywhere(ctx, o.User, cmp.Or(o.By, "operator"))
}

// isConfigured reports whether a section of the configuration names a key. Such a computation may have members before its
// first event. A section that names an id as well does not tell its key.
func isConfigured(rules domain.Rules, key string) bool {
	return slices.ContainsFunc(rules.Sections, func(s domain.Section) bool { return s.Key == key && s.ID == "" })
}
