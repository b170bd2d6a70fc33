package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// What leaves first while more waits than the limit lets out. Elements are counted, not time: with requests of
// a sixtieth of a minute's limit, a window is sixty of them.

// today has an event come in so long ago.
func today(ago time.Duration) func(*domain.Event) {
	return func(e *domain.Event) { e.Received = time.Now().Add(-ago) }
}

// floods appends an enter of so many users, received so long ago, which no request has carried yet.
func (b *bench) floods(key string, n int, ago time.Duration) {
	b.Helper()
	for at := 0; at < n; at += 1000 {
		var events []*domain.Event
		for i := at; i < min(at+1000, n); i++ {
			events = append(events, event(fmt.Sprintf("user-%07d", i), key, true, 1, today(ago)))
		}
		must(b, b.Append(context.Background(), events...))
	}
	must(b, b.Applied(context.Background()))
}

// backfills imports the same users.
func (b *bench) backfills(key string, n int, events bool) {
	b.Helper()
	b.imports(Import{Key: key, AsOf: noon, Users: crowdOf(0, n), Create: true, Events: events})
}

const perRequest = 50

// request is one request of a sender that is short of both limits, accepted in full.
func (b *bench) request(endpoint domain.Endpoint, verdict domain.Verdict) *domain.Lease {
	b.Helper()
	o := everything(time.Now().Add(time.Minute / 2))
	o.Endpoint, o.MaxUsers, o.MaxEvents, o.Longest = endpoint, perRequest, perRequest, time.Hour
	f, _, err := b.Take(context.Background(), o)
	must(b, err)
	if f == nil {
		return nil
	}
	out := domain.Settlement{Lease: f.ID, At: time.Now(), Results: make([]domain.UserResult, len(f.Users))}
	r := domain.Result{Verdict: verdict}
	if verdict != domain.Delivered {
		r.Reason, r.RetryAt = "test", time.Now().Add(time.Minute)
	}
	for i := range out.Results {
		out.Results[i] = domain.UserResult{Attributes: r, Event: r}
	}
	must(b, b.Settle(context.Background(), out))
	return f
}

// requestsUntil is how many requests leave before what is wanted has: at most sixty.
func (b *bench) requestsUntil(endpoint domain.Endpoint, wanted func(domain.UserChanges) bool) (n int) {
	b.Helper()
	for n = 1; n <= 60; n++ {
		f := b.request(endpoint, domain.Delivered)
		if f == nil {
			b.Fatalf("nothing was due after %d requests, and what is wanted had not left", n)
		}
		if slices.ContainsFunc(f.Users, wanted) {
			return n
		}
	}
	b.Errorf("it had not left after %d requests", n-1)
	return n
}

func says(user, key string) func(domain.UserChanges) bool {
	return func(d domain.UserChanges) bool {
		about := func(c domain.Change) bool { return c.Computation == key }
		return d.User == user && (slices.ContainsFunc(d.Attributes, about) || d.Event != nil && about(*d.Event))
	}
}

// TestAFreshTransitionDoesNotWaitForABacklog of whatever kind: it leaves with one of the next requests.
func TestAFreshTransitionDoesNotWaitForABacklog(t *testing.T) {
	costly(t, manyUsers)
	const many = 1200 // twice what leaves in twelve requests
	scheduled := func(send domain.SendMethods) domain.Rules {
		r := rules(send)
		p := policy(send)
		p.Job = "computation:gold"
		r.Sections = []domain.Section{{Key: "gold", Policy: p}}
		return r
	}
	for _, tc := range []struct {
		name     string
		rules    domain.Rules
		endpoint domain.Endpoint
		backlog  func(b *bench)
		fresh    *domain.Event
	}{
		{name: "an import of attributes", rules: rules(domain.SendAttribute), backlog: func(b *bench) { b.backfills("vip", many, false) }},
		{name: "an import of events", rules: rules(domain.SendEvent), backlog: func(b *bench) { b.backfills("vip", many, true) }},
		{name: "an import of both", rules: rules(domain.SendBoth), backlog: func(b *bench) { b.backfills("vip", many, true) }},
		{name: "an import, and a schedule of its own", rules: scheduled(domain.SendAttribute), backlog: func(b *bench) { b.backfills("vip", many, false) }},
		{name: "an import that the user is in, too", rules: rules(domain.SendAttribute), backlog: func(b *bench) { b.backfills("vip", many, false) },
			fresh: event(fmt.Sprintf("user-%07d", many-1), "gold", true, 2)},
		{name: "an import of events that the user is in, too", rules: rules(domain.SendEvent), backlog: func(b *bench) { b.backfills("vip", many, true) },
			fresh: event(fmt.Sprintf("user-%07d", many-1), "gold", true, 2)},
		{name: "a reconcile", rules: rules(domain.SendAttribute), backlog: func(b *bench) {
			b.floods("vip", many, time.Hour)
			b.deliverAll()
			_, err := b.Reconcile(context.Background(), "vip", false, false, nil)
			must(b, err)
		}},
		{name: "a close of the same audience", rules: rules(domain.SendAttribute), fresh: event("fresh", "vip", true, 0), backlog: func(b *bench) {
			b.floods("vip", many, time.Hour)
			b.deliverAll()
			_, err := b.CloseAudience(context.Background(), "vip", false, false, nil)
			must(b, err)
		}},
		{name: "an outage of another audience", rules: rules(domain.SendBoth), backlog: func(b *bench) { b.floods("vip", many, time.Hour) }},
		{name: "an outage of the same audience", rules: rules(domain.SendBoth), backlog: func(b *bench) { b.floods("vip", many, time.Hour) },
			fresh: event("fresh", "vip", true, 2)},
		{name: "retries of another audience", rules: rules(domain.SendBoth), backlog: func(b *bench) { b.floods("vip", many, time.Hour); b.failAll() }},
		{name: "retries of an import", rules: rules(domain.SendAttribute), backlog: func(b *bench) { b.backfills("vip", many, false); b.failAll() }},
		{name: "a retry of everything that was parked", rules: rules(domain.SendBoth), backlog: func(b *bench) {
			b.floods("vip", many, time.Hour)
			b.leaveOnce(domain.Parked)
			b.retriesParked()
		}},
		{name: "a repair", rules: rules(domain.SendAttribute), backlog: func(b *bench) {
			b.floods("vip", many, time.Hour)
			b.deliverAll()
			var missing []record.Told
			for i := range many {
				users, err := b.Told("vip", []string{fmt.Sprintf("user-%07d", i)}, time.Now())
				must(b, err)
				missing = append(missing, users[0].Attributes...)
			}
			must(b, b.Repair(context.Background(), time.Now(), missing))
			must(b, b.Applied(context.Background()))
		}},
		{name: "an import of a cohort", rules: rules(domain.SendCohort), endpoint: domain.EndpointCohort, backlog: func(b *bench) { b.backfills("vip", many, false) }},
		{name: "imports of many cohorts", rules: rules(domain.SendCohort), endpoint: domain.EndpointCohort, backlog: func(b *bench) {
			for i := range 40 {
				b.backfills(fmt.Sprint("vip-", i), 60, false)
			}
		}},
		{name: "an outage of another cohort", rules: rules(domain.SendCohort), endpoint: domain.EndpointCohort, backlog: func(b *bench) { b.floods("vip", many, time.Hour) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := open(t, tc.rules)
			tc.backlog(b)
			endpoint := max(tc.endpoint, domain.EndpointTransition)
			for range 3 {
				b.request(endpoint, domain.Delivered)
			}
			fresh := tc.fresh
			if fresh == nil {
				fresh = event("fresh", "gold", true, 2)
			}
			today(0)(fresh)
			fresh.Time = fresh.Received
			b.receive(fresh)
			if n := b.requestsUntil(endpoint, says(fresh.User.ID, fresh.Key)); n > 6 {
				t.Errorf("%d requests left before it", n-1)
			}
			for range 3 {
				if f := b.request(endpoint, domain.Delivered); f == nil || len(f.Users) < perRequest && endpoint == domain.EndpointTransition {
					t.Error("the backlog does not fill the requests behind it")
				}
			}
			b.balance()
		})
	}
}

// deliverAll and failAll have everything that waits leave once.
func (b *bench) deliverAll() { b.leaveOnce(domain.Delivered) }
func (b *bench) failAll()    { b.leaveOnce(domain.Refused) }

func (b *bench) leaveOnce(v domain.Verdict) {
	b.Helper()
	for {
		f, _, err := b.Take(context.Background(), everything(time.Now()))
		must(b, err)
		if f == nil {
			return
		}
		o := domain.Settlement{Lease: f.ID, At: time.Now(), Results: make([]domain.UserResult, len(f.Users))}
		r := domain.Result{Verdict: v}
		if v == domain.Refused {
			r.Reason, r.RetryAt = "test", time.Now().Add(2*time.Second)
		}
		for i := range o.Results {
			o.Results[i] = domain.UserResult{Attributes: r, Event: r}
		}
		must(b, b.Settle(context.Background(), o))
	}
}

// retriesParked has an operator retry all that is parked.
func (b *bench) retriesParked() {
	b.Helper()
	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateParked, Limit: 100_000})
	must(b, err)
	for list := range slices.Chunk(page, record.MaxActionIDs) {
		var ids []domain.ID
		for _, c := range list {
			id, err := domain.ParseID(c.ID)
			must(b, err)
			ids = append(ids, id)
		}
		must(b, b.Retry(context.Background(), time.Now(), ids))
	}
	must(b, b.Applied(context.Background()))
}

// TestABulkOrderGetsHalfOfTheBudget however many live transitions there are, and they the other half.
func TestABulkOrderGetsHalfOfTheBudget(t *testing.T) {
	costly(t, manyUsers)
	for name, live := range map[string]time.Duration{"fresh": 0, "of an outage": time.Hour} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			b.imports(Import{Key: "vip", AsOf: noon, Users: crowdOf(10_000, 12_000), Create: true})
			b.floods("gold", 2000, live)
			had := map[string]int{}
			for range 20 {
				for _, d := range b.request(domain.EndpointTransition, domain.Delivered).Users {
					had[d.Attributes[0].Computation]++
				}
			}
			if got := had["vip"] + had["gold"]; got != 20*perRequest || had["vip"] < got/2-perRequest || had["gold"] < got/2-perRequest {
				t.Errorf("of %d elements, %d were the import's and %d live", got, had["vip"], had["gold"])
			}
		})
	}
}

// TestComputationsTakeTurns after an outage: what one has little of does not wait for what another has much of.
func TestComputationsTakeTurns(t *testing.T) {
	costly(t, manyUsers)
	b := open(t, rules(domain.SendAttribute))
	b.floods("busy", 4000, 2*time.Hour)
	for i := range 10 {
		b.receive(event(fmt.Sprint("some-", i), fmt.Sprint("quiet-", i), true, 1, today(time.Hour)))
	}
	left := 10
	for n := 1; left > 0; n++ {
		for _, d := range b.request(domain.EndpointTransition, domain.Delivered).Users {
			if d.Attributes[0].Computation != "busy" {
				left--
			}
		}
		if n == 6 && left > 0 {
			t.Fatalf("after %d requests %d of 10 computations had not had a turn", n, left)
		}
	}
}

// TestAUserOfManyComputationsKeepsASmallHead: their changes share lanes, and all of them leave.
func TestAUserOfManyComputationsKeepsASmallHead(t *testing.T) {
	costly(t, manyEvents)
	b := open(t, rules(domain.SendAttribute))
	for i := range 200 {
		b.receive(event("ann", fmt.Sprint("audience-", i), true, 1))
	}
	must(t, b.read(func(x *state.Tx) error {
		if n := len(x.User("ann").Index.Endpoint(domain.EndpointTransition).Lanes); n > state.LanesOfUser+1 {
			t.Errorf("the head lists %d lanes", n)
		}
		return nil
	}))
	if f := b.take(); len(f.Users) != 1 || len(f.Users[0].Attributes) != 200 {
		t.Errorf("%d attributes left", len(f.Users[0].Attributes))
	}
	b.balance()
}

// TestALiveCohortChangeHurriesItsUsersBulkChanges: it leaves after them, and they would wait for the bulk.
func TestALiveCohortChangeHurriesItsUsersBulkChanges(t *testing.T) {
	costly(t, manyUsers)
	r := rules(domain.SendAttribute)
	r.Sections = []domain.Section{{Key: "gold", Policy: policy(domain.SendCohort)}}
	b := open(t, r)
	b.backfills("vip", 4000, false)
	user := fmt.Sprintf("user-%07d", 3999)
	b.receive(event(user, "gold", true, 2, today(0)))
	if n := b.requestsUntil(domain.EndpointTransition, says(user, "vip")); n > 6 {
		t.Errorf("%d requests left before it", n-1)
	}
	page, _, err := b.Changes(domain.OutboxFilter{Limit: 10_000})
	must(t, err)
	seen := map[string]bool{}
	for _, c := range page {
		if seen[c.ID] {
			t.Fatalf("change %s is listed twice", c.ID)
		}
		seen[c.ID] = true
	}
	if want := int(b.balance().Changes.Pending); len(seen) != want {
		t.Errorf("%d of %d pending changes are listed", len(seen), want)
	}
	b.balance()
}

// TestPendingChangesAreListedAsTheyAreDueWhateverTheirComputation, page by page.
func TestPendingChangesAreListedAsTheyAreDueWhateverTheirComputation(t *testing.T) {
	costly(t, manyUsers)
	b := open(t, rules(domain.SendBoth))
	for i := range 40 {
		b.receive(event(fmt.Sprint("user-", i), fmt.Sprint("audience-", i%7), true, 1, received(time.Duration(i)*time.Second)))
	}
	var got []string
	for cursor := ""; ; {
		page, next, err := b.Changes(domain.OutboxFilter{Limit: 3, Cursor: cursor})
		must(t, err)
		for _, c := range page {
			got = append(got, c.ReceivedAt)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(got) != 80 || !slices.IsSorted(got) {
		t.Errorf("%d changes, received at %q", len(got), got)
	}
}

// TestAUsersPageSaysWhatAChangeWaitsFor when the limits are short: whether it is bulk, and that a failure of the
// user's other changes holds it up.
func TestAUsersPageSaysWhatAChangeWaitsFor(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.backfills("vip", 3, false)
	b.receive(event("user-0000000", "gold", true, 1, today(0)))
	wantWaits := func(want string) {
		t.Helper()
		u, err := b.User("user-0000000")
		must(t, err)
		var got string
		for _, c := range u.Pending {
			got += fmt.Sprintf("%s %s %v %v;", c.Computation, c.Wait, c.Bulk, c.Until != "")
		}
		if got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	wantWaits("vip due true false;gold due false false;")
	b.failAll()
	b.receive(event("user-0000000", "silver", true, 1, today(0)))
	wantWaits("vip retry false false;gold retry false false;silver user_retry false true;")
}

// TestTurnsKeepTheStateWhole has users of many computations, on both endpoints, go through orders, failures, parking
// and restarts in any order: nothing is lost, and the due index is what the heads say. So it is with the lanes of
// older files, which are those of very many jobs.
func TestTurnsKeepTheStateWhole(t *testing.T) {
	costly(t, manyEvents)
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 22))
			r := rules(domain.SendBoth)
			for i, send := range []domain.SendMethods{domain.SendAttribute | domain.SendCohort, domain.SendCohort, domain.SendList | domain.SendEvent, domain.SendAsReceived} {
				p := policy(send)
				p.Job = []string{"", "late", "nightly"}[i%3]
				p.Collapse = i != 3
				r.Sections = append(r.Sections, domain.Section{Key: fmt.Sprint("audience-", i), Policy: p})
			}
			b := open(t, r)
			if seed%2 == 1 {
				must(t, b.writer.Do(context.Background(), func(x *state.Tx) error {
					for i := range state.LaneJobs {
						state.JobNumber(x, fmt.Sprint("former-", i))
					}
					return nil
				}, nil))
			}
			for step := range 60 {
				user, key := fmt.Sprintf("user-%07d", rnd.IntN(12)), fmt.Sprint("audience-", rnd.IntN(14))
				switch rnd.IntN(10) {
				default:
					b.receive(event(user, key, rnd.IntN(3) > 0, step, today(time.Duration(rnd.IntN(300))*time.Second)))
				case 0:
					b.imports(Import{Key: key, AsOf: time.Now(), Users: crowdOf(0, rnd.IntN(12)), Create: true, Events: rnd.IntN(2) == 0})
				case 1:
					if _, err := b.Reconcile(context.Background(), key, true, false, nil); err != nil && !errors.Is(err, domain.ErrNotFound) {
						t.Fatal(err)
					}
				case 2:
					b.retriesParked()
				case 3:
					b.reopen(r)
				case 4, 5, 6:
					for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
						b.request(endpoint, []domain.Verdict{domain.Delivered, domain.Refused, domain.Parked, domain.Uncertain}[rnd.IntN(4)])
					}
				}
			}
			b.wantWhole()
			b.retriesParked()
			end := time.Now()
			for idle := 0; idle < 3; end = end.Add(2 * time.Minute) {
				idle++
				for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
					o := everything(end)
					o.Endpoint, o.Force = endpoint, true
					f, _, err := b.Take(context.Background(), o)
					must(t, err)
					if f == nil {
						continue
					}
					idle = 0
					out := domain.Settlement{Lease: f.ID, At: end, Results: make([]domain.UserResult, len(f.Users))}
					for i := range out.Results {
						out.Results[i] = domain.UserResult{Attributes: domain.Result{Verdict: domain.Delivered}, Event: domain.Result{Verdict: domain.Delivered}}
					}
					must(t, b.Settle(context.Background(), out))
				}
			}
			if c := b.wantWhole(); c.Changes.Pending > 0 || c.Changes.Created == 0 {
				t.Errorf("%+v", c.Changes)
			}
		})
	}
}

// wantWhole is balance, and the store checked against itself.
func (b *bench) wantWhole() domain.Counts {
	b.Helper()
	r, err := b.Check(context.Background(), nil)
	must(b, err)
	for _, f := range r.Findings {
		b.Errorf("check: %s: %s", f.Code, f.Message)
	}
	return b.balance()
}
