package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// trailOf renders a trail, a word for each line.
func trailOf(t *testing.T, b *bench, f query.ActivityFilter) (lines []string, next string) {
	t.Helper()
	trail, err := b.Activity(f)
	must(t, err)
	for _, h := range trail.Items {
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(h.What, " ", h.User, " ", h.Computation, " ", h.Transition, " ", h.Reason)), " "))
	}
	return lines, trail.Next
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestTheTrailSaysWhatAnEventCameTo(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0), event("ann", "vip", true, 1), event("ann", "vip", true, 0), event("bob", "vip", false, 2), event("ann", "vip", false, -1))
	got, next := trailOf(t, b, query.ActivityFilter{})
	wantLines(t, got, "accepted ann vip enter transition", "accepted ann vip enter unchanged", "accepted ann vip enter stale",
		"accepted bob vip exit unchanged", "accepted ann vip exit stale")

	broken := event("ann", "vip", true, 5)
	broken.Fault, broken.Sentence = "undetermined", "it does not say"
	b.receive(event("ann", "vip", false, 4), broken)
	got, next = trailOf(t, b, query.ActivityFilter{Cursor: next})
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " by ") // an id
	}
	wantLines(t, got, "accepted ann vip exit transition", "superseded ann vip enter", "cancelled ann vip exit", "parked ann vip undetermined")
	if got, _ := trailOf(t, b, query.ActivityFilter{Cursor: next}); len(got) > 0 {
		t.Errorf("told twice: %v", got)
	}
	got, _ = trailOf(t, b, query.ActivityFilter{User: "bob"})
	wantLines(t, got, "accepted bob vip exit unchanged")
	got, _ = trailOf(t, b, query.ActivityFilter{Limit: 1})
	if len(got) != 1 {
		t.Errorf("of the newest line: %v", got)
	}

	// The same from the files, and after a restart.
	want, _ := trailOf(t, b, query.ActivityFilter{})
	b.reopen(rules(domain.SendAttribute))
	got, _ = trailOf(t, b, query.ActivityFilter{})
	wantLines(t, got, want...)
	soundness(t, b)
}

func TestATrailThatIsTooLongIsCounted(t *testing.T) {
	costly(t, manyEvents)
	b := open(t, rules(domain.SendNone))
	_, next := trailOf(t, b, query.ActivityFilter{})
	var many []*domain.Event
	for i := range state.ActivityBehind + 500 {
		many = append(many, event(fmt.Sprintf("u%d", i%50), "vip", i%2 == 0, i))
	}
	for part := range slices.Chunk(many, 1000) {
		b.receive(part...)
	}
	shown, skipped, last := 0, uint64(0), ""
	for more := true; more; {
		trail, err := b.Activity(query.ActivityFilter{Cursor: next})
		must(t, err)
		shown, skipped, more, next = shown+len(trail.Items), skipped+trail.Skipped, trail.More, trail.Next
		if len(trail.Items) > 2*query.ActivityScan {
			t.Fatalf("%d lines at once", len(trail.Items))
		}
		for _, h := range trail.Items {
			if h.Reason == "" {
				t.Fatalf("a line without a reason: %+v", h)
			}
			last = h.User
		}
	}
	if shown != state.ActivityBehind || skipped < 500 || skipped > 501 || last != "u49" {
		t.Errorf("%d lines shown, %d left out, the last of %s", shown, skipped, last)
	}
}

func TestVerdictsGoWithTheirRecords(t *testing.T) {
	b := open(t, rules(domain.SendNone))
	var many []*domain.Event
	for i := range 3 * state.VerdictsOf {
		many = append(many, event("ann", "vip", i%2 == 0, i))
	}
	b.receive(many...)
	must(t, b.writer.Do(context.Background(), func(tx *state.Tx) error {
		state.PruneVerdicts(tx, 2*state.VerdictsOf+5)
		return tx.Err
	}, nil))
	must(t, b.look(func(tx engine.Tx) error {
		first, _ := tx.Bucket(state.BucketVerdicts).Cursor().First()
		if state.Number(first) != 2 {
			t.Errorf("the oldest kept is %d", state.Number(first))
		}
		return nil
	}))
	soundness(t, b)
}

// Numbers go on far away after a restore: what lies between is not filled up.
func TestVerdictsOfNumbersFarAway(t *testing.T) {
	b := open(t, rules(domain.SendNone))
	b.receive(event("ann", "vip", true, 0))
	must(t, b.writer.Do(context.Background(), func(tx *state.Tx) error {
		tx.Verdict(5, domain.OutcomeStale)
		tx.Verdict(1<<50, domain.OutcomeDuplicate)
		return nil
	}, nil))
	must(t, b.look(func(tx engine.Tx) error {
		v := state.ReadVerdicts(tx.Bucket(state.BucketVerdicts), 1<<50)
		if v.Of(1<<50) != domain.OutcomeDuplicate || v.Of(1<<50-1) != domain.OutcomeUnknown {
			t.Errorf("%v", v.Bucket)
		}
		return nil
	}))
}

func TestACursorThatIsNone(t *testing.T) {
	b := open(t, rules(domain.SendNone))
	for _, cursor := range []string{"x", "00", strings.Repeat("0", 50)} {
		if _, err := b.Activity(query.ActivityFilter{Cursor: cursor}); err == nil {
			t.Errorf("%q is taken for a cursor", cursor)
		}
	}
}

func TestWhoFollowsIsToldOnceWhatIsParked(t *testing.T) {
	p := state.NewParkings(time.Now())
	first, to := p.Number(), uint64(0)
	for i := range 3 * state.ParkingsKept / 2 {
		p.Merge([]*state.Stored{{Change: domain.Change{ID: domain.ID{Seq: uint64(i)}}}}, 1)
	}
	if list, skipped := p.Since(first, &to); len(list) != state.ParkingsKept || skipped != state.ParkingsKept/2 || list[len(list)-1].ID.Seq != 3*state.ParkingsKept/2-1 || to != p.Number() {
		t.Errorf("%d of them, up to %d", len(list), to)
	}
	if list, skipped := p.Since(to-2, &to); len(list) != 2 || skipped != 0 {
		t.Errorf("%d of the last 2", len(list))
	}
	if list, _ := p.Since(to, &to); len(list) != 0 {
		t.Errorf("%d of none", len(list))
	}
	p.Merge(make([]*state.Stored, state.ParkingsKept), state.ParkingsKept+7) // more in one transaction than are remembered
	if list, skipped := p.Since(to, &to); len(list) != state.ParkingsKept || skipped != 7 {
		t.Errorf("%d of a large transaction, %d left out", len(list), skipped)
	}
}
