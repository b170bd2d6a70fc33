package apply

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// journal tells the transitions of a user as text, the oldest first: membership or call, and the cause.
func (r *room) journal(user string) string {
	r.Helper()
	var words []string
	r.Read(func(tx *state.Tx) {
		j := state.ReadJournal(tx)
		for e := j.At(tx.User(user).Index.Journal); e != nil; e = j.At(e.Prev) {
			if e.Outcome() {
				continue
			}
			w := e.Transition.String() + " " + e.Cause.String()
			if !e.Moved {
				w = "(" + w + ")"
			}
			if e.Text != "" && e.Cause != domain.CauseEvent {
				w += " by " + e.Text
			}
			words = append(words, w)
		}
	})
	slices.Reverse(words)
	return strings.Join(words, ", ")
}

func (r *room) wantJournal(user, want string) {
	r.Helper()
	if got := r.journal(user); got != want {
		r.Errorf("the journal of %s:\n got %s\nwant %s", user, got, want)
	}
}

// TestEveryCauseIsInTheJournal gives each order that can change a membership or tell it again.
func TestEveryCauseIsInTheJournal(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) {
		r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
	})
	members := func(in bool, users ...string) (words []record.JobTarget) {
		for _, u := range users {
			words = append(words, record.JobTarget{User: u, In: in})
		}
		return words
	}
	r.event(enter("ann", "vip", 1))
	r.event(enter("bob", "vip", 1))
	r.order(record.Order{Verb: record.OrderImport, By: "olga", Targets: members(true, "cid")}, "vip")
	r.order(record.Order{Verb: record.OrderBaseline, Targets: members(true, "dan")}, "vip")
	r.event(exit("ann", "vip", 2))
	r.event(exit("bob", "vip", 2)) // trips the guard
	r.order(record.Order{Verb: record.OrderDiscard, By: "otto"}, "vip")
	r.order(record.Order{Verb: record.OrderDiscard, By: "otto", Targets: members(false, "ann")}, "vip")
	r.event(exit("bob", "vip", 3)) // readmitted first: the discard has not come to them
	r.order(record.Order{Verb: record.OrderClose, By: "olga", Targets: members(false, "cid")}, "vip")
	r.order(record.Order{Verb: record.OrderReconcile, Targets: members(false, "dan")}, "vip")
	r.wantJournal("ann", "enter event, exit event, enter discard by otto")
	r.wantJournal("bob", "enter event, exit event, enter discard, exit event")
	r.wantJournal("cid", "enter import by olga, exit close by olga")
	r.wantJournal("dan", "enter baseline, (enter reconcile)")

	r.deliver()
	r.record(record.Record{Repair: &record.Repair{Received: receipt, Missing: []record.Told{{User: "dan", Field: r.field("vip").Number}}}}, nil)
	r.wantJournal("dan", "enter baseline, (enter reconcile), (enter repair)")
	r.Balance()
}

func TestAnAdoptionIsInTheJournal(t *testing.T) {
	r := sending(t, domain.SendEvent)
	r.events(enter("zoe", "vip", 1), enter("ann", "vip", 2, in("spa_1", "aud_new")))
	into, from, err := Adoption(r.State.Registry, "vip", "aud_new")
	r.Must(err)
	adopt := record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: from[0].Number, By: "olga"}
	r.order(adopt, "")
	adopt.Targets = words("ann")
	r.order(adopt, "")
	r.wantJournal("ann", "enter event, exit adopt by olga, enter adopt by olga")
	r.Balance()
}

// journaled is a room with members who came one minute after the other.
func journaled(t *testing.T, n int) *room {
	t.Helper()
	r := sending(t, domain.SendNone)
	for i := range n {
		r.event(enter(fmt.Sprintf("u%03d", i), "vip", i, func(e *domain.Event) { e.Received = receipt.Add(time.Duration(i) * time.Minute) }))
	}
	return r
}

func (r *room) pruneJournal(now time.Time, keep time.Duration, most uint64) (more bool) {
	r.Helper()
	r.Do(func(tx *state.Tx) { more = PruneJournal(tx, now, keep, most) })
	return more
}

// kept counts the users whose journal can be read, and those whose row leads to it.
func (r *room) kept(n int) (readable, led int) {
	r.Read(func(tx *state.Tx) {
		for i := range n {
			u := tx.User(fmt.Sprintf("u%03d", i))
			if u.Index.Journal != 0 {
				led++
			}
			if state.ReadJournal(tx).At(u.Index.Journal) != nil {
				readable++
			}
		}
	})
	return readable, led
}

func TestTheJournalIsPrunedByAgeAndBytes(t *testing.T) {
	const n = 100 // in chunks of 16: the last one has 4
	for name, tc := range map[string]struct {
		after time.Duration // the last receipt
		keep  time.Duration
		most  uint64
		want  int
	}{
		"nothing is old enough":     {0, 400 * time.Hour, 0, 100},
		"a chunk goes as a whole":   {0, 84 * time.Minute, 0, 84},
		"but not before all is old": {0, 85 * time.Minute, 0, 100},
		"half":                      {0, 50 * time.Minute, 0, 52},
		"all":                       {time.Hour, time.Hour, 0, 0},
		"all, because it is off":    {0, 0, 0, 0},
		"by bytes":                  {0, 400 * time.Hour, 1000, 20},
	} {
		r := journaled(t, n)
		if r.pruneJournal(receipt.Add((n-1)*time.Minute+tc.after), tc.keep, tc.most) {
			t.Errorf("%s: there is more", name)
		}
		if readable, led := r.kept(n); readable != tc.want || led != tc.want {
			t.Errorf("%s: %d are readable, and %d rows lead to entries, want %d", name, readable, led, tc.want)
		}
		if b := r.State.Journal.Bytes; tc.most > 0 && b > tc.most || tc.want == 0 && b != 0 {
			t.Errorf("%s: %d bytes are left", name, b)
		}
		r.Balance()
	}
}

// TestAChunkAheadOfTheClockBlocksNothing: it is as old as the one after it.
func TestAChunkAheadOfTheClockBlocksNothing(t *testing.T) {
	r := sending(t, domain.SendNone)
	for i := range 48 {
		at := receipt
		if i < 16 {
			at = receipt.Add(1000 * time.Hour) // by a clock that was wrong
		}
		r.event(enter(fmt.Sprintf("u%03d", i), "vip", i, func(e *domain.Event) { e.Received = at }))
	}
	r.pruneJournal(receipt.Add(time.Hour), 2*time.Hour, 0)
	if readable, _ := r.kept(48); readable != 48 {
		t.Errorf("%d of 48 are kept within their time", readable)
	}
	r.pruneJournal(receipt.Add(3*time.Hour), 2*time.Hour, 0)
	if readable, led := r.kept(48); readable+led != 0 {
		t.Errorf("%d are kept after their time", readable)
	}
}

func TestPruningTheJournalGoesOnInSlices(t *testing.T) {
	r := sending(t, domain.SendNone)
	n := state.PruneSlice + 100
	r.Do(func(tx *state.Tx) {
		for i := range n {
			u := tx.User(fmt.Sprintf("u%03d", i%7))
			state.AppendJournal(tx, u, &state.JournalEntry{Transition: domain.TransitionEnter, User: u.ID, At: receipt})
		}
	})
	if !r.pruneJournal(receipt, 0, 0) || r.State.Journal.Bytes == 0 {
		t.Errorf("the first slice left %d bytes", r.State.Journal.Bytes)
	}
	if r.pruneJournal(receipt, 0, 0) || r.State.Journal.Bytes != 0 {
		t.Errorf("the second slice left %d bytes", r.State.Journal.Bytes)
	}
	if readable, led := r.kept(7); readable+led != 0 {
		t.Errorf("%d rows lead to entries", led)
	}
}

func TestAForgottenUserHasNoJournal(t *testing.T) {
	const id = "743be593-7789-4b74-8078-cbcc8894c586" // packed in the journal
	r := sending(t, domain.SendBoth)
	r.events(enter(id, "vip", 1), enter("ann", "vip", 1), exit(id, "vip", 2))
	r.deliver()
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User(id), receipt.Add(time.Hour)) })
	r.Read(func(tx *state.Tx) {
		r.Must(tx.Bucket(state.BucketJournal).ForEach(func(k, frame []byte) error {
			entries, err := state.JournalChunk(k, frame)
			for _, e := range entries {
				if e.User == id || !e.Erased && state.JournalOwner(tx, e.Number) != "ann" {
					t.Errorf("there is still %+v", e)
				}
			}
			return err
		}))
	})
	r.wantJournal(id, "")
	r.wantJournal("ann", "enter event")
}

func TestWhatConsentChangesIsInTheJournal(t *testing.T) {
	r := sending(t, domain.SendAttribute, asking)
	r.event(enter("ann", "vip", 1, yes))
	r.deliver()
	r.events(update("ann", 2), update("ann", 3, "Marketing"))
	r.wantJournal("ann", "enter event, (exit consent) by consent-ann2 [], (enter consent) by consent-ann3 [Marketing]")

	r = sending(t, domain.SendAttribute, asking)
	r.event(enter("ann", "vip", 1))
	none := statetest.Rules(domain.SendAttribute)
	r.record(record.Record{Rules: &none}, nil)
	r.event(exit("ann", "vip", 2)) // before the comparison with the configuration
	r.wantJournal("ann", "enter event, (enter consent) by m-ann-vip-false-2, exit event")
}
