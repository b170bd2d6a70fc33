package query

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
)

// lines tells a part of the activity as text.
func lines(a Activity) string {
	var list []string
	for _, e := range a.Items {
		word := e.What + " " + e.User
		if e.What == "accepted" || e.Reason != "" {
			word += " " + e.Reason
		}
		if n := len(e.Changes); n > 0 {
			word += fmt.Sprintf(" +%d", n)
		}
		list = append(list, strings.Join(strings.Fields(word), " "))
	}
	return strings.Join(list, ", ")
}

func (r *room) activity(f ActivityFilter) Activity {
	r.Helper()
	a, err := r.Activity(f)
	r.Must(err)
	for _, e := range a.Items {
		if e.Changes == nil || e.At == "" {
			r.Errorf("a line without a time, or without a list: %+v", e)
		}
	}
	return a
}

func TestActivityIsWhatHappenedInItsOrder(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	r.Refused = refusal.New(noon)
	late := enter("cid", "vip", 2, receivedAt(2))
	late.TimeSource, late.LeftOut = domain.TimeUnreadable, []domain.Column{{Name: "big"}}
	r.receive(enter("ann", "vip", 1), enter("ann", "vip", 1, receivedAt(1)), late, enter("dan", "vip", 1, faulty, receivedAt(3)))
	r.Refused.Count(domain.Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Delivery: true, Last: receipt.Add(4 * time.Minute)})
	first := r.activity(ActivityFilter{})
	want := "accepted ann transition +2, accepted ann duplicate, accepted cid transition +2, parked dan undetermined, refused 401 invalid_signature at webhook"
	if got := lines(first); got != want || first.More || first.Skipped != 0 {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
	if e := first.Items[2]; e.TimeSource != "unreadable" || !slices.Equal(e.LeftOut, []string{"big"}) || e.Transition != "enter" || e.Computation != "vip" || e.MessageID != late.MessageID || e.ID != "" {
		t.Errorf("%+v", e)
	}
	if again := r.activity(ActivityFilter{Cursor: first.Next}); len(again.Items) != 0 || again.Next != first.Next {
		t.Errorf("nothing happened, and it is %s", lines(again))
	}
	r.drain(delivered)
	r.receive(exit("ann", "vip", 5, receivedAt(200)), enter("eve", "vip", 1, faulty, receivedAt(201)))
	r.Refused.Count(domain.Refusal{Route: "webhook", Status: 413, Code: "too_large", Delivery: true, Last: receipt.Add(202 * time.Minute)})
	since := r.activity(ActivityFilter{Cursor: first.Next})
	want = "sent ann, sent ann, sent cid, sent cid, accepted ann transition +2, parked eve undetermined, refused 413 too_large at webhook"
	got := strings.Split(lines(since), ", ")
	slices.Sort(got[:4])
	if strings.Join(got, ", ") != want {
		t.Errorf("since then it is\n%s\nwant\n%s", strings.Join(got, ", "), want)
	}
	if e := since.Items[0]; e.State != "delivered" || e.Reason != "" || e.ID == "" {
		t.Errorf("%+v", e)
	}
}

func TestActivityIsFiltered(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	r.receive(enter("ann", "vip", 1), enter("bob", "new", 1), trait("ann", "new_score", 1, "new_score", "1"))
	for _, tc := range []struct {
		filter ActivityFilter
		want   string
	}{
		{ActivityFilter{User: "ann"}, "accepted ann transition +1, accepted ann transition +1"},
		{ActivityFilter{Computation: "new"}, "accepted bob transition +1"},
		{ActivityFilter{Computation: "aud_new"}, "accepted bob transition +1"},
		{ActivityFilter{User: "ann", Computation: "new"}, ""},
		{ActivityFilter{Limit: 1}, "accepted ann transition +1"},
		{ActivityFilter{Limit: 2}, "accepted bob transition +1, accepted ann transition +1"},
	} {
		if got := lines(r.activity(tc.filter)); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.filter, got, tc.want)
		}
	}
}

func TestAReaderFarBehindIsToldHowMuchIsLeftOut(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	cursor := func(record, closed, parking, refusal uint64) string {
		return activityCursor{record, closed, parking, refusal}.String()
	}
	start := r.Parkings.Number()
	const all = ActivityScan + 5
	var events []*domain.Event
	for i := range all {
		events = append(events, enter(fmt.Sprint(i), "vip", 1))
	}
	r.receive(events...)
	a := r.activity(ActivityFilter{Cursor: cursor(0, 0, start, 0)})
	if len(a.Items) != ActivityScan || !a.More || a.Skipped != 0 {
		t.Errorf("%d lines, more: %v, %d left out", len(a.Items), a.More, a.Skipped)
	}
	if a = r.activity(ActivityFilter{Cursor: a.Next}); len(a.Items) != 5 || a.More {
		t.Errorf("then %d lines, more: %v", len(a.Items), a.More)
	}
	r.inbox.gone = all // retention took them
	if a = r.activity(ActivityFilter{Cursor: cursor(0, 0, start, 0)}); len(a.Items) != 0 || a.More {
		t.Errorf("of records that are gone %d lines, more: %v", len(a.Items), a.More)
	}
	r.Do(func(tx *state.Tx) { tx.State.Applied = all + state.ActivityBehind })
	if a = r.activity(ActivityFilter{Cursor: cursor(2, 0, start, 0)}); a.Skipped != all-2 {
		t.Errorf("%d are left out, want %d", a.Skipped, all-2)
	}
	if a = r.activity(ActivityFilter{Cursor: cursor(1<<40, 0, start, 0)}); a.Skipped != 0 { // of a store that was restored since
		t.Errorf("%d are left out", a.Skipped)
	}
}

func TestClosedChangesComeInSlices(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	start := r.activity(ActivityFilter{}).Next
	const all = ActivityScan + 5
	r.Do(func(tx *state.Tx) {
		for i := range all {
			ch := &state.Stored{Change: domain.Change{ID: domain.ID{Seq: uint64(i + 1)}, Kind: domain.KindEvent, User: "ann", Successor: domain.ID{Seq: 9}}}
			tx.Close(tx.User("ann"), ch, domain.StateSuperseded, receipt)
		}
	})
	a := r.activity(ActivityFilter{Cursor: start})
	if len(a.Items) != ActivityScan || !a.More || a.Items[0].Reason != "by 00000007-9-0" {
		t.Errorf("%d lines, more: %v, the first %s", len(a.Items), a.More, a.Items[0].Reason)
	}
	if a = r.activity(ActivityFilter{Cursor: a.Next}); len(a.Items) != 5 || a.More {
		t.Errorf("then %d lines, more: %v", len(a.Items), a.More)
	}
}

func TestParkedChangesAreToldAtTheTimeOfTheirAnswer(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	r.receive(enter("ann", "vip", 1))
	start := r.activity(ActivityFilter{}).Next
	r.drain(refused)
	a := r.activity(ActivityFilter{Cursor: start})
	if len(a.Items) != 1 || a.Items[0].What != "parked" || a.Items[0].At != domain.Timestamp(later) || a.Items[0].Attempts != 1 || a.Items[0].Reason != "InvalidUser" {
		t.Errorf("%+v", a.Items)
	}
	a = r.activity(ActivityFilter{})
	if got := lines(a); got != "accepted ann transition +1, parked ann InvalidUser" {
		t.Errorf("it is %s", got)
	}
	r.Parkings = nil // the files of a stopped agent
	if a = r.activity(ActivityFilter{Cursor: start}); len(a.Items) != 0 {
		t.Errorf("it is %s", lines(a))
	}
}

func TestAnOrderIsNoLine(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	r.receive(exit("zoe", "vip", 1))
	r.order(record.Order{Verb: record.OrderImport, Targets: []record.JobTarget{{User: "ann", In: true}}})
	if got := lines(r.activity(ActivityFilter{})); got != "accepted zoe unchanged" {
		t.Errorf("it is %s", got)
	}
}

func TestAnEventSaysItsTransition(t *testing.T) {
	for name, tc := range map[string]struct {
		event *domain.Event
		want  domain.Transition
	}{
		"in": {enter("ann", "vip", 1), domain.TransitionEnter}, "out": {exit("ann", "vip", 1), domain.TransitionExit},
		"a value": {trait("ann", "score", 1, "score", "1"), domain.TransitionValue},
		"silent":  {enter("ann", "vip", 1, func(e *domain.Event) { e.Flag = domain.FlagSilent }), 0},
		"neither": {enter("ann", "vip", 1, func(e *domain.Event) { e.Class = domain.ClassNone }), 0},
	} {
		if got := eventTransition(tc.event); got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestACursorOfTheActivityIsRead(t *testing.T) {
	c := activityCursor{1, 2, 3, 1<<64 - 1}
	if got, err := parseActivityCursor(c.String()); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	older := hex.EncodeToString(append(append(state.NumberKey(1), state.NumberKey(2)...), state.NumberKey(3)...))
	if got, err := parseActivityCursor(older); err != nil || got != (activityCursor{1, 2, 3, 0}) {
		t.Errorf("of an older program: %+v, %v", got, err)
	}
	r := newRoom(t, domain.SendNone)
	for _, bad := range []string{"x", "00", c.String() + "00", c.String()[2:]} {
		if _, err := r.Activity(ActivityFilter{Cursor: bad}); !errors.Is(err, ErrBadCursor) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSamplesAreKeptForADay(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	r.receive(enter("ann", "vip", 1), enter("ann", "new", 1), enter("bob", "new", 1))
	keep := func(at time.Time) {
		s, err := r.Sample(at)
		r.Must(err)
		r.Put(state.BucketSamples, state.NumberKey(SampleNumber(at)), s.Encode(nil))
	}
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	for _, n := range []int{-1, 0, 1, 2} {
		keep(minute(n))
	}
	r.Put(state.BucketSamples, state.NumberKey(SampleNumber(minute(3))), []byte("rubbish"))
	list, err := r.Samples(minute(0))
	r.Must(err)
	if len(list) != 3 || !list[0].At.Equal(minute(0)) || !list[2].At.Equal(minute(2)) {
		t.Fatalf("%+v", list)
	}
	if a := list[0].Audiences; len(a) != 2 || a[0] != (AudienceSample{"spa_1", "new", "aud_new", 2, 2, 0, 1}) || a[1].Key != "vip" {
		t.Errorf("the audiences are %+v", a)
	}
	if list, err = r.Samples(minute(0).Add(time.Second)); err != nil || len(list) != 2 {
		t.Errorf("%d since a second later, %v", len(list), err)
	}
	at := SampleNumber(minute(0))
	for _, tc := range []struct {
		minute uint64
		want   []uint64
	}{
		{at + 1, []uint64{at + 3}},               // one minute ahead may be of this very moment
		{at, []uint64{at + 2, at + 3}},           // a clock that was set back
		{at - 1 + samplesKept, []uint64{at - 1}}, // the first of a day ago
		{at + samplesKept + 1, []uint64{at - 1, at, at + 1}},
	} {
		var got []uint64
		r.DB.Read(func(tx *state.Tx) {
			for _, k := range Outdated(tx.Bucket(state.BucketSamples), tc.minute) {
				got = append(got, state.Number(k))
			}
		})
		if !slices.Equal(got, tc.want) {
			t.Errorf("at minute %d: %v, want %v", tc.minute-at, got, tc.want)
		}
	}
	if SampleNumber(time.Unix(-1, 0)) != 0 || SampleNumber(time.Unix(119, 0)) != 1 {
		t.Error("a minute has another number")
	}
}

func TestASampleHasTheLargestAudiences(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	var events []*domain.Event
	for i := range sampledAudiences + 2 {
		for u := range i + 1 {
			events = append(events, enter(fmt.Sprint("u", u), fmt.Sprintf("a%02d", i), 1))
		}
	}
	r.receive(append(events, trait("ann", "score", 1, "score", "1"))...)
	s, err := r.Sample(later)
	r.Must(err)
	if len(s.Audiences) != sampledAudiences || s.Audiences[0].Key != "a25" || s.Audiences[sampledAudiences-1].Key != "a02" {
		t.Errorf("%d, from %s to %s", len(s.Audiences), s.Audiences[0].Key, s.Audiences[len(s.Audiences)-1].Key)
	}
	s.Audiences = append(s.Audiences, AudienceSample{})
	if _, err := DecodeSample(s.Encode(nil)); err == nil {
		t.Error("a sample of more audiences than there may be is read")
	}
}

// unread is a log that cannot be read.
type unread struct{ engine.Log }

func (unread) Read(uint64, int) ([]engine.Record, error) { return nil, syscall.EIO }

// TestActivityThatCannotBeReadIsNotQuiet: no lines would say that nothing happened.
func TestActivityThatCannotBeReadIsNotQuiet(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	r.receive(enter("ann", "vip", 1))
	whole := r.Inbox
	r.Inbox = unread{whole}
	if a, err := r.Activity(ActivityFilter{}); !errors.Is(err, syscall.EIO) {
		t.Errorf("%s, %v", lines(a), err)
	}
	r.Inbox = whole
	r.Put(state.BucketMeta, state.MetaRefusals, []byte("rubbish"))
	if a, err := r.Activity(ActivityFilter{}); err == nil {
		t.Errorf("with refusals that cannot be read: %s", lines(a))
	}
}

// TestAStatementOfConsentIsALineOfItsOwnKind: it names no computation.
func TestAStatementOfConsentIsALineOfItsOwnKind(t *testing.T) {
	r := newRoom(t, domain.SendBoth, func(r *domain.Rules) { r.Defaults.Consent = []string{"Marketing"} })
	r.receive(&domain.Event{
		Received: receipt, Time: noon, Call: domain.CallTrack, Name: domain.ConsentEvent, MessageID: "c-1",
		User: domain.Identifier{ID: "ann"}, Raw: []byte("{}"), Consent: &domain.Preferences{Given: []string{"Marketing"}},
	}, enter("ann", "vip", 1))
	items := r.activity(ActivityFilter{}).Items
	if len(items) != 2 || items[0].Kind != "consent" || items[0].Computation != "" || items[1].Kind == "consent" {
		t.Errorf("%+v", items)
	}
}
