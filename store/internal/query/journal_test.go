package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// journal reads all pages of a question.
func (r *room) journal(f domain.JournalFilter) (all []domain.JournalInfo) {
	r.Helper()
	for {
		l := NewJournalListing(f)
		for !l.Done() {
			r.Must(l.Read(r.Reader))
		}
		page := l.Page()
		all = append(all, page.Items...)
		if f.Before = page.Next; f.Before == 0 {
			return all
		}
		if len(page.Items) == 0 {
			r.Fatalf("an empty page says that there is more")
		}
	}
}

// journalWords tells lines of the journal as text: user, transition, cause, and what became of its changes.
func journalWords(list []domain.JournalInfo) string {
	var words []string
	for _, i := range list {
		w := i.User + " " + i.Transition
		if !i.Moved {
			w += " (unmoved)"
		}
		w += " by " + i.Cause
		for _, t := range i.Told {
			w += " " + t.Kind + ":" + t.State
			if t.Reason != "" {
				w += "(" + t.Reason + ")"
			}
		}
		words = append(words, w)
	}
	return strings.Join(words, "; ")
}

func (r *room) wantJournal(when, user, want string) {
	r.Helper()
	if got := journalWords(r.journal(domain.JournalFilter{User: user})); got != want {
		r.Errorf("%s:\n got %s\nwant %s", when, got, want)
	}
}

func TestTheJournalSaysWhatBecameOfEachChange(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	r.receive(enter("ann", "vip", 1), trait("ann", "score", 1, "score", "1"))
	r.wantJournal("pending", "ann", "ann enter by event attribute:pending event:pending")
	r.drain(failed)
	r.wantJournal("refused for now", "ann", "ann enter by event attribute:pending(503) event:pending(503)")
	r.receive(enter("bob", "vip", 1))
	r.drain(refused)
	r.wantJournal("parked", "bob", "bob enter by event attribute:parked(InvalidUser) event:parked(InvalidUser)")
	r.receive(exit("bob", "vip", 2))
	r.drain(delivered)
	r.wantJournal("superseded", "bob", "bob exit by event attribute:cancelled event:delivered; bob enter by event attribute:superseded(InvalidUser) event:parked(InvalidUser)")
	r.order(record.Order{Verb: record.OrderReconcile, Targets: []record.JobTarget{{User: "bob"}}})
	r.order(record.Order{Verb: record.OrderImport, By: "olga", Targets: []record.JobTarget{{User: "cid", In: true}}})
	r.drain(delivered)
	r.wantJournal("imported", "cid", "cid enter by import attribute:delivered")
	list := r.journal(domain.JournalFilter{User: "cid"})
	if i := list[0]; i.By != "olga" || i.MessageID != "" || i.Computation != "vip" || i.ComputationID != "aud_vip" || i.Told[0].At != domain.Timestamp(later) {
		t.Errorf("the import is told as %+v", i)
	}
	list = r.journal(domain.JournalFilter{User: "bob"})
	if i := list[len(list)-1]; i.MessageID != "m-bob-vip-true-1" || i.By != "" || i.EventTime != domain.Timestamp(noon.Add(time.Minute)) || i.ReceivedAt != domain.Timestamp(receipt) {
		t.Errorf("the event is told as %+v", i)
	}
	if _, err := domain.ParseID(list[0].Told[0].Change); err != nil {
		t.Error(err)
	}
}

func TestWhatIsToldAgainIsNoEnter(t *testing.T) {
	r := newRoom(t, domain.SendAsReceived)
	r.receive(enter("ann", "vip", 1), enter("ann", "vip", 1, track("Moved")))
	r.drain(delivered)
	r.order(record.Order{Verb: record.OrderReconcile, Events: true, Targets: []record.JobTarget{{User: "ann"}}})
	r.wantJournal("two calls and a reconcile", "ann", "ann enter (unmoved) by reconcile attribute:pending event:pending; ann enter (unmoved) by event event:delivered; ann enter by event attribute:delivered")
	if list := r.journal(domain.JournalFilter{Computation: "vip"}); len(list) != 1 {
		t.Errorf("the audience has %s", journalWords(list))
	}
}

func TestPagesOfTheJournal(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	var all []*domain.Event
	for i := range 50 {
		all = append(all, turn("ann", "vip", i), turn("bob", "gold", i))
	}
	r.receive(all...)
	r.drain(delivered)
	for _, limit := range []int{1, 7, 50, 51} {
		for name, f := range map[string]domain.JournalFilter{"a user": {User: "ann", Limit: limit}, "an audience": {Computation: "aud_vip", Limit: limit}} {
			list := r.journal(f)
			if len(list) != 50 || !slices.IsSortedFunc(list, func(a, b domain.JournalInfo) int { return int(b.Record) - int(a.Record) }) {
				t.Errorf("%s in pages of %d has %d lines", name, limit, len(list))
			}
		}
	}
	between := domain.JournalFilter{Computation: "gold", Since: receipt.Add(10 * time.Minute), Until: receipt.Add(20 * time.Minute)}
	if list := r.journal(between); len(list) != 10 || list[0].ReceivedAt != domain.Timestamp(receipt.Add(19*time.Minute)) {
		t.Errorf("in ten minutes there are %s", journalWords(list))
	}
	between.User, between.Computation = "bob", ""
	if list := r.journal(between); len(list) != 10 {
		t.Errorf("of bob there are %s", journalWords(list))
	}
	if list := r.journal(domain.JournalFilter{User: "bob", Computation: "vip"}); len(list) != 0 {
		t.Errorf("of another audience there are %s", journalWords(list))
	}
}

func TestQuestionsThatTheJournalCannotAnswer(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	r.receive(enter("ann", "vip", 1), trait("ann", "score", 1, "score", "1"))
	for name, tc := range map[string]struct {
		f    domain.JournalFilter
		want error
	}{
		"an unknown user":     {domain.JournalFilter{User: "zoe"}, domain.ErrNotFound},
		"an unknown audience": {domain.JournalFilter{Computation: "zoo"}, domain.ErrNotFound},
		"a trait":             {domain.JournalFilter{Computation: "score"}, domain.ErrNoMembers},
	} {
		if err := NewJournalListing(tc.f).Read(r.Reader); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	off := newRoom(t, domain.SendAttribute, func(r *domain.Rules) { r.Journal = false })
	off.receive(enter("ann", "vip", 1))
	l := NewJournalListing(domain.JournalFilter{User: "ann"})
	off.Must(l.Read(off.Reader))
	if p := l.Page(); !p.Off || len(p.Items) != 0 || p.From != "" || len(off.Keys(state.BucketJournal)) != 0 {
		t.Errorf("without a journal: %+v", p)
	}
}

// turn is an enter or, in odd minutes, an exit, received at that minute.
func turn(user, key string, minute int) *domain.Event {
	e := enter(user, key, minute, receivedAt(minute))
	if minute%2 == 1 {
		e = exit(user, key, minute, receivedAt(minute))
	}
	e.MessageID = fmt.Sprintf("m-%s-%d", user, minute)
	return e
}
