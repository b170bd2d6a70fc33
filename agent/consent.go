package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/store/domain"
)

// A check of the configuration asks for the consent of the first members of the largest audiences, which takes moments.
const (
	consentMembers   = 50
	consentAudiences = 20
)

// consentWarnings names the audiences of which MoEngage would be told, once c is in force, that most members are no members:
// c asks for a consent that they have not given, as far as the agent's data says.
func consentWarnings(ctx context.Context, i api.Inspector, c *config.Config) (warnings []string) {
	rules := c.Rules()
	if !rules.AsksConsent() {
		return nil
	}
	list, err := i.Computations(ctx)
	if err != nil {
		return nil
	}
	slices.SortStableFunc(list, func(a, b domain.ComputationInfo) int { return cmp.Compare(b.Members, a.Members) })
	for _, info := range list[:min(len(list), consentAudiences)] {
		asks := rules.For(info.Key, info.ID).Consent
		if info.Members == 0 || len(asks) == 0 {
			continue
		}
		lost, of, err := withoutConsent(ctx, i, info, asks)
		if err != nil {
			return warnings
		}
		if 2*lost > of {
			warnings = append(warnings, fmt.Sprintf("%s asks for the consent %q: of %d of its %d members, %d have not given it as far as is known, and MoEngage would be told that they are no members. "+
				"Gather their statements first: set consent only in a [[computation]] with a key that does not exist, such as gather_consent_only (docs/consent.md, Turning it on)",
				info.Key, asks, of, info.Members, lost))
		}
	}
	return warnings
}

// withoutConsent counts, of the first members of a computation, those that would be taken back.
func withoutConsent(ctx context.Context, i api.Inspector, info domain.ComputationInfo, asks []string) (lost, of int, err error) {
	members, _, err := i.Members(ctx, cmp.Or(info.ID, info.Key), "", consentMembers)
	for _, m := range members {
		u, err := i.User(ctx, m.User)
		if err != nil {
			return lost, of, err
		}
		of++
		withheld := slices.ContainsFunc(u.Memberships, func(x domain.MembershipInfo) bool {
			return x.Computation == info.Key && (x.Withheld || x.Told == "nothing")
		})
		given := u.Consent != nil && !slices.ContainsFunc(asks, func(category string) bool { return !slices.Contains(u.Consent.Given, category) })
		if !withheld && !given {
			lost++
		}
	}
	return lost, of, err
}
