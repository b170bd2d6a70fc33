package store_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// noon is when the deliveries of these examples are received.
var noon = time.Date(2026, time.March, 14, 12, 0, 0, 0, time.UTC)

// says is an event that states a user's membership in the audience "vip" at some minute. In the agent package
// segment makes it from what Segment posts.
func says(user string, in bool, minute int) *domain.Event {
	flag := domain.FlagOut
	if in {
		flag = domain.FlagIn
	}
	at := noon.Add(time.Duration(minute) * time.Minute)
	return &domain.Event{
		Received: at, Time: at, MessageID: fmt.Sprint(user, in, minute), Raw: []byte("{}"),
		Call: domain.CallIdentify, User: domain.Identifier{ID: user},
		Class: domain.ClassAudience, Space: "spa_1", ComputationID: "aud_1", Key: "vip", Flag: flag,
	}
}

// open makes a store in a folder of its own. Its rules send each transition as an attribute and as an event.
func open() (s *store.Store, done func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	s, err = store.Open(filepath.Join(dir, "data"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	err = s.SetRules(context.Background(), domain.Rules{Defaults: domain.Policy{
		Send: domain.SendBoth, Collapse: true, EnterEvent: "Audience Entered", ExitEvent: "Audience Exited",
	}})
	if err != nil {
		log.Fatal(err)
	}
	return s, func() {
		if err := s.Close(); err != nil {
			log.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

// A store is a folder. What Append took is on disk; a moment later it is applied, and what MoEngage should be
// told of it is pending.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	s, err := store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	attributes := domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute, Collapse: true}}
	if err := s.SetRules(ctx, attributes); err != nil {
		log.Fatal(err)
	}
	if err := s.Append(ctx, says("ann", true, 0), says("bob", false, 1)); err != nil {
		log.Fatal(err) // the sender keeps its events
	}
	if err := s.Applied(ctx); err != nil {
		log.Fatal(err)
	}

	members, _, err := s.Members("vip", "", 100)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range members {
		fmt.Println(m.User, "is a member since", m.Since)
	}
	pending, _, err := s.Changes(domain.OutboxFilter{State: domain.StatePending})
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range pending {
		fmt.Println(c.User, c.Computation, c.Transition, string(c.Value))
	}
	// Output:
	// ann is a member since 2026-03-14T12:00:00Z
	// ann vip enter true
}

// The difference between an event and the membership that is known decides what it changes. It depends on the
// event's own time, and not on the order in which events arrive, so Segment may repeat and reorder them.
func ExampleStore_Append() {
	s, done := open()
	defer done()
	ctx := context.Background()

	for _, e := range []*domain.Event{
		says("ann", true, 10), // enters
		says("ann", true, 10), // the same delivery again
		says("ann", false, 5), // older than what is known: late, and no exit
		says("ann", true, 20), // known already
		says("ann", false, 30),
	} {
		if err := s.Append(ctx, e); err != nil {
			log.Fatal(err)
		}
	}
	if err := s.Applied(ctx); err != nil {
		log.Fatal(err)
	}
	counts, err := s.Counts()
	if err != nil {
		log.Fatal(err)
	}
	e := counts.Events
	fmt.Println(e.Accepted, "accepted")
	fmt.Println(e.Transitions, "transitions,", e.Duplicate, "duplicate,", e.Stale, "stale,", e.Unchanged, "unchanged")
	// Output:
	// 5 accepted
	// 2 transitions, 1 duplicate, 1 stale, 1 unchanged
}

// A full list of an audience's members is compared with the members that are known. A dry run counts what the
// list would change, and changes nothing.
func ExampleStore_Import() {
	s, done := open()
	defer done()
	ctx := context.Background()
	if err := s.Append(ctx, says("ann", true, 0), says("bob", true, 1)); err != nil {
		log.Fatal(err)
	}

	list := store.Import{Key: "vip", AsOf: noon.Add(time.Hour), Users: func(yield func(string, error) bool) {
		for _, user := range []string{"bob", "cid", "dan"} {
			if !yield(user, nil) {
				return
			}
		}
	}}
	list.DryRun = true
	would, err := s.Import(ctx, list)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(would.Enters, "would enter,", would.Exits, "would leave,", would.Unchanged, "stay")

	list.DryRun = false
	if _, err := s.Import(ctx, list); err != nil {
		log.Fatal(err)
	}
	members, _, err := s.Members("vip", "", 100)
	if err != nil {
		log.Fatal(err)
	}
	var names []string
	for _, m := range members {
		names = append(names, m.User)
	}
	slices.Sort(names)
	fmt.Println(names)
	// Output:
	// 2 would enter, 1 would leave, 1 stay
	// [bob cid dan]
}

// Whatever takes changes and settles them is a destination. This one writes them to the terminal; in a test it
// may as well refuse some, to see that they are kept and tried again.
//
// What is taken is remembered as being under way before it leaves. So after a crash it is known what may have
// been delivered.
func ExampleStore_Take() {
	s, done := open()
	defer done()
	ctx := context.Background()
	if err := s.Append(ctx, says("ann", true, 0)); err != nil {
		log.Fatal(err)
	}
	if err := s.Applied(ctx); err != nil {
		log.Fatal(err)
	}

	now := noon.Add(time.Hour)
	everything := domain.TakeOptions{
		Endpoint: domain.EndpointTransition, Now: now, MaxUsers: 100, MaxEvents: 100,
		Due: func(job string) time.Time { return now },
		Fit: func(domain.UserChanges) bool { return true },
	}
	for _, verdict := range []domain.Verdict{domain.Refused, domain.Delivered} {
		flight, _, err := s.Take(ctx, everything)
		if err != nil || flight == nil {
			log.Fatal("nothing is due: ", err)
		}
		outcome := domain.Settlement{Lease: flight.ID, At: now}
		for _, d := range flight.Users {
			for _, a := range d.Attributes {
				fmt.Println("attribute:", d.User, a.Name, string(a.Value))
			}
			if d.Event != nil {
				fmt.Println("event:", d.User, d.Event.Name)
			}
			r := domain.Result{Verdict: verdict}
			if verdict == domain.Refused {
				r.Reason = "http_503"
			}
			outcome.Results = append(outcome.Results, domain.UserResult{Attributes: r, Event: r})
		}
		if err := s.Settle(ctx, outcome); err != nil {
			log.Fatal(err)
		}
		counts, err := s.Counts()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(counts.Changes.Pending, "pending,", counts.Changes.Delivered, "delivered")
	}
	// Output:
	// attribute: ann vip true
	// event: ann Audience Entered
	// 2 pending, 0 delivered
	// attribute: ann vip true
	// event: ann Audience Entered
	// 0 pending, 2 delivered
}
