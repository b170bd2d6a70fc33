package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wire"
)

func users(page []domain.MemberInfo) string {
	var list []string
	for _, m := range page {
		list = append(list, m.User)
	}
	return strings.Join(list, " ")
}

func TestMembersComeInPagesWithoutGapsOrRepeats(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	var events []*domain.Event
	for i := range 10 {
		events = append(events, enter(fmt.Sprintf("u%d", i), "vip", i))
	}
	r.receive(append(events, exit("u3", "vip", 20), enter("ann", "new", 1))...)
	all, more, err := r.Members("vip", "", 0)
	r.Must(err)
	if len(all) != 9 || more || strings.Contains(users(all), "u3") || strings.Contains(users(all), "ann") {
		t.Fatalf("they are %s, and more: %v", users(all), more)
	}
	if i := slices.IndexFunc(all, func(m domain.MemberInfo) bool { return m.User == "u7" }); all[i].Since != "2026-03-14T12:07:00Z" {
		t.Errorf("a member since %s", all[i].Since)
	}
	for limit := 1; limit < 11; limit++ {
		var got []domain.MemberInfo
		after, more := "", true
		for more {
			var page []domain.MemberInfo
			page, more, err = r.Members("vip", after, limit)
			r.Must(err)
			if len(page) > limit || more && len(page) != limit {
				t.Fatalf("a page of %d has %d, and more: %v", limit, len(page), more)
			}
			got = append(got, page...)
			after = page[len(page)-1].User
		}
		if users(got) != users(all) {
			t.Errorf("in pages of %d they are %s", limit, users(got))
		}
	}
	page, _, err := r.Members("vip", all[4].User, 3)
	r.Must(err)
	r.receive(exit(page[2].User, "vip", 30)) // the last one shown goes
	if rest, more, err := r.Members("vip", page[2].User, 3); err != nil || more || len(rest) != 1 {
		t.Errorf("behind one who is gone: %s, %v, %v", users(rest), more, err)
	}
}

func TestMembersOfWhatHasNone(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	r.receive(trait("ann", "score", 1, "score", "true"), exit("ann", "vip", 1))
	for _, key := range []string{"score", "tra_score", "vip"} {
		if page, more, err := r.Members(key, "", 0); err != nil || len(page) != 0 || more {
			t.Errorf("%s has %v, %v", key, page, err)
		}
	}
	if _, _, err := r.Members("zoo", "", 0); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("an unknown key: %v", err)
	}
	r.receive(enter("ann", "vip", 1, func(e *domain.Event) { e.Space, e.ComputationID = "spa_2", "aud_2" }))
	var several *state.AmbiguousError
	if _, _, err := r.Members("vip", "", 0); !errors.As(err, &several) || !slices.Equal(several.IDs, []string{"aud_vip", "aud_2"}) {
		t.Errorf("a key of two: %v", err)
	}
	if page, _, err := r.Members("aud_2", "", 0); err != nil || users(page) != "ann" {
		t.Errorf("by its id: %v, %v", page, err)
	}
}

func TestAPageOfMembersLooksAtABoundedNumberOfRows(t *testing.T) {
	r := newRoom(t, domain.SendNone, func(r *domain.Rules) { r.Journal = false }) // with it, each user has two rows
	var events []*domain.Event
	for i := range state.PageScan + 5 {
		events = append(events, enter(fmt.Sprintf("u%d", i), "vip", 1))
	}
	r.receive(events...)
	l := NewMemberListing("vip", "", 10*state.PageScan)
	r.Must(l.Read(r.Reader))
	if page, more := l.Page(); len(page) != state.PageScan || more || l.Done() {
		t.Errorf("one read has %d, done: %v", len(page), l.Done())
	}
	r.Must(l.Read(r.Reader))
	if page, _ := l.Page(); len(page) != state.PageScan+5 || !l.Done() {
		t.Errorf("two have %d, done: %v", len(page), l.Done())
	}
}

func TestCountsAreTheLedgers(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 1, receivedAt(1)), trait("ann", "score", 1, "score", "1"), enter("cid", "vip", 1, faulty))
	r.Must(r.inbox.Append(r.Context(), statetest.Frame(enter("dan", "vip", 1)), statetest.Frame(enter("eve", "vip", 1)), nil))
	r.inbox.others = 1
	c, err := r.Counts()
	r.Must(err)
	if c.Received != 6 || c.Unapplied != 3 || c.Users != 2 || c.Audiences != 1 || c.Events.Accepted != 4 || c.Events.Parked != 1 || c.Changes.Pending != 6 || c.Backlog != (domain.Backlog{Users: 2, Events: 3}) {
		t.Errorf("%+v", c)
	}
	if !c.OldestPending.Equal(receipt) || len(c.OldestOfJobs) != 1 || !c.OldestOfJobs[""].Equal(receipt) {
		t.Errorf("the oldest is of %s, by job %v", c.OldestPending, c.OldestOfJobs)
	}
	r.inbox.others = 100 // it counts at another moment
	if c, err = r.Counts(); err != nil || c.Received != 4 {
		t.Errorf("%d received, %v", c.Received, err)
	}
	if r.LastRecord() != 7 {
		t.Errorf("the last record is %d", r.LastRecord())
	}
	s, err := r.Sample(receipt.Add(time.Minute))
	r.Must(err)
	if s.Received != 4 || s.Unapplied != 3 || s.Pending != 6 || s.Parked != 1 || s.Created != 6 || s.OldestPending != time.Minute || len(s.Audiences) != 1 || s.Audiences[0].Members != 2 {
		t.Errorf("a sample is %+v", s)
	}
	if s, err = r.Sample(receipt); err != nil || s.OldestPending != 0 {
		t.Errorf("the oldest waits for %s, %v", s.OldestPending, err)
	}
}

func TestTheOldestPendingChangeIsFoundAmongRetries(t *testing.T) {
	r := newRoom(t, domain.SendAttribute, func(r *domain.Rules) {
		nightly := r.Defaults
		nightly.Job = "nightly"
		r.Sections = []domain.Section{{Key: "new", Policy: nightly}}
	})
	if c, err := r.Counts(); err != nil || !c.OldestPending.IsZero() || len(c.OldestOfJobs) != 0 {
		t.Errorf("of nothing it is %s, %v", c.OldestPending, err)
	}
	r.receive(enter("ann", "vip", 1))
	r.settle(r.take(domain.EndpointTransition), failed)
	r.receive(enter("bob", "new", 1, receivedAt(5)))
	c, err := r.Counts()
	r.Must(err)
	if !c.OldestPending.Equal(receipt) || !c.OldestOfJobs[""].Equal(receipt) || !c.OldestOfJobs["nightly"].Equal(receipt.Add(5*time.Minute)) {
		t.Errorf("%s of %v", c.OldestPending, c.OldestOfJobs)
	}
}

func TestRefusalsAreThoseOfTheProcessOrOfTheFile(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	counted := refusal.New(noon)
	one := domain.Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Delivery: true, Last: receipt}
	two := domain.Refusal{Route: "other", Status: 404, Code: "not_found", Last: receipt}
	for _, x := range []domain.Refusal{two, one, one} {
		counted.Count(x)
	}
	r.Do(func(tx *state.Tx) { counted.Write(tx) })
	counted.Count(one)
	for name, want := range map[string]uint64{"file": 3, "process": 4} {
		if r.Refused = nil; name == "process" {
			r.Refused = counted
		}
		c, err := r.Counts()
		r.Must(err)
		if c.Rejected != want || len(c.Refusals) != 2 || c.Refusals[0].Code != "invalid_signature" || c.Refusals[0].Count != want-1 {
			t.Errorf("by the %s: %d, %+v", name, c.Rejected, c.Refusals)
		}
		if s, err := r.Sample(receipt); err != nil || s.Rejected != want {
			t.Errorf("a sample by the %s has %d, %v", name, s.Rejected, err)
		}
	}
}

func TestAChangeIsShownWithItsCause(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	late := enter("ann", "vip", 1)
	late.TimeSource, late.LeftOut = domain.TimeUnreadable, []domain.Column{{Name: "big"}}
	r.receive(late, enter("bob", "vip", 1, faulty))
	r.order(record.Order{Verb: record.OrderImport, Targets: []record.JobTarget{{User: "cid", In: true}}})
	id := func(seq uint64) domain.ID { return domain.ID{Epoch: statetest.Epoch, Seq: seq} }
	c, raw, err := r.Change(id(1))
	r.Must(err)
	if c.User != "ann" || string(raw) != string(late.Raw) || c.TimeSource != domain.TimeUnreadable || !slices.Equal(c.LeftOut, []string{"big"}) || c.OrderedBy != "" {
		t.Errorf("%+v of %s", c, raw)
	}
	c, raw, err = r.Change(id(2))
	if r.Must(err); c.Kind != domain.KindReceived || c.Reason != "undetermined" || len(raw) == 0 {
		t.Errorf("%+v of %s", c, raw)
	}
	c, raw, err = r.Change(id(3))
	if r.Must(err); c.User != "cid" || raw != nil || c.OrderedBy != "audience import" {
		t.Errorf("%+v of %s", c, raw)
	}
	for _, unknown := range []domain.ID{{Epoch: statetest.Epoch + 1, Seq: 1}, id(9), {Epoch: statetest.Epoch, Seq: 1, Slot: 1}} {
		if _, _, err := r.Change(unknown); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: %v", unknown, err)
		}
	}
	r.inbox.gone = 3
	for seq := range uint64(3) {
		c, raw, err := r.Change(id(seq + 1))
		if r.Must(err); (raw != nil) != (seq == 1) || c.OrderedBy != "" { // what is parked keeps its bytes
			t.Errorf("record %d is gone, and its change is %+v of %s", seq+1, c, raw)
		}
	}
}

func TestComputationsAreListedByKey(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	if list, err := r.Computations(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	other := func(e *domain.Event) { e.Space, e.ComputationID = "spa_2", "aud_2" }
	r.receive(enter("ann", "vip", 1), trait("ann", "row", 1, "a", "1", "b", "2"), exit("bob", "a", 1), enter("bob", "a", 2), enter("ann", "vip", 3, other, receivedAt(1)))
	list, err := r.Watermarked()
	r.Must(err)
	for i := range list { // nothing is pending of the held one, so that it is sent up to the newest event
		if want := []string{"2026-03-14T12:30:00Z", "2026-03-14T12:31:00Z"}[i/3]; list[i].SentUpTo != want {
			t.Errorf("%s of %s is sent up to %q", list[i].Key, list[i].Space, list[i].SentUpTo)
		}
		list[i].SentUpTo = ""
	}
	if plain, err := r.Computations(); err != nil || !reflect.DeepEqual(plain, list) {
		t.Errorf("without watermarks: %+v, %v", plain, err)
	}
	text, _ := json.Marshal(list)
	want := `[{"key":"a","id":"aud_a","space":"spa_1","class":"audience","members":1,"entered":1,"exited":0,"held":0,"last_event":"2026-03-14T12:30:00Z"},` +
		`{"key":"row","id":"tra_row","space":"spa_1","class":"trait","members":0,"entered":0,"exited":0,"held":0,"last_event":"2026-03-14T12:30:00Z"},` +
		`{"key":"vip","id":"aud_vip","space":"spa_1","class":"audience","members":1,"entered":1,"exited":0,"held":0,"last_event":"2026-03-14T12:30:00Z"},` +
		`{"key":"vip","id":"aud_2","space":"spa_2","class":"audience","members":1,"entered":1,"exited":0,"held":1,"last_event":"2026-03-14T12:31:00Z","conflict":{"key":"vip","id":"aud_vip","name":"vip"}}]`
	if string(text) != want {
		t.Errorf("they are\n%s\nwant\n%s", text, want)
	}
}

func TestPreviewTakesNothing(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	for endpoint, want := range map[domain.Endpoint]bool{domain.EndpointTransition: true, domain.EndpointCohort: true} {
		if idle, err := r.Idle(endpoint); err != nil || idle != want {
			t.Errorf("endpoint %d is idle: %v, %v", endpoint, idle, err)
		}
	}
	r.receive(enter("ann", "vip", 1))
	for range 2 {
		f, err := r.Preview(everything(domain.EndpointTransition))
		r.Must(err)
		if f == nil || len(f.Users) != 1 || f.Users[0].User != "ann" {
			t.Errorf("a preview is %+v", f)
		}
	}
	for endpoint, want := range map[domain.Endpoint]bool{domain.EndpointTransition: false, domain.EndpointCohort: true} {
		if idle, err := r.Idle(endpoint); err != nil || idle != want {
			t.Errorf("endpoint %d is idle: %v, %v", endpoint, idle, err)
		}
	}
	if f, err := r.Preview(everything(domain.EndpointCohort)); err != nil || f != nil {
		t.Errorf("of nothing it is %+v, %v", f, err)
	}
	rules := statetest.Rules(domain.SendCohort)
	r.SetRules(rules)
	r.receive(enter("bob", "new", 1))
	if idle, err := r.Idle(domain.EndpointCohort); err != nil || idle {
		t.Errorf("a cohort change is pending, and its endpoint is idle: %v, %v", idle, err)
	}
}

func TestWhatWasSentIsListedBySecond(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 1))
	f := r.take(domain.EndpointTransition)
	r.settle(f, delivered)
	list, err := r.Sent(later)
	r.Must(err)
	if len(list) != 1 || !list[0].At.Equal(later) || list[0].Users != 2 || list[0].Events != 2 || list[0].Cohorts != 0 {
		t.Errorf("%+v", list)
	}
	if list, err = r.Sent(later.Add(time.Second)); err != nil || len(list) != 0 {
		t.Errorf("since then %+v, %v", list, err)
	}
	if list, err = r.Sent(time.Unix(-5, 0)); err != nil || len(list) != 1 {
		t.Errorf("since ever %+v, %v", list, err)
	}
}

func TestDamageIsToldAndReturned(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	var told []error
	r.Damaged = func(err error) { told = append(told, err) }
	other := errors.New("another")
	if err := r.Look(func(engine.Tx) error { return other }); !errors.Is(err, other) || len(told) != 0 {
		t.Errorf("%v, and told %v", err, told)
	}
	broken := fmt.Errorf("a page: %w", wire.ErrDamaged)
	if err := r.Look(func(engine.Tx) error { return broken }); !errors.Is(err, broken) || len(told) != 1 {
		t.Errorf("%v, and told %v", err, told)
	}
	r.Damaged = nil
	if err := r.Observe(broken); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestWhatExpiresIsCountedAWeekAhead(t *testing.T) {
	r := newRoom(t, domain.SendBoth)
	keep := 30 * state.Day
	goes := receipt.Add(keep)
	for _, now := range []time.Time{goes, receipt} {
		if e, err := r.Expiring(now, keep); err != nil || e != nil {
			t.Errorf("of nothing: %+v, %v", e, err)
		}
	}
	r.receive(enter("ann", "vip", 1, faulty), enter("bob", "vip", 1, faulty, receivedAt(60)))
	for _, tc := range []struct {
		now  time.Time
		keep time.Duration
		want uint64
	}{
		{goes.Add(-outbox.NoticeLead - 1), keep, 0}, {goes.Add(-outbox.NoticeLead), keep, 1}, {goes.Add(time.Hour - outbox.NoticeLead), keep, 2},
		{goes.Add(1000 * time.Hour), keep, 2}, {goes, 0, 0},
	} {
		e, err := r.Expiring(tc.now, tc.keep)
		r.Must(err)
		if (e == nil) != (tc.want == 0) || e != nil && (e.Count != tc.want || e.More || !e.First.Equal(goes)) {
			t.Errorf("at %s, kept for %s: %+v, want %d", tc.now, tc.keep, e, tc.want)
		}
	}
	var many []*domain.Event
	for i := range state.PageScan {
		many = append(many, enter(fmt.Sprint(i), "vip", 1, faulty, receivedAt(60)))
	}
	r.receive(many...)
	if e, err := r.Expiring(goes, keep); err != nil || e == nil || !e.More || e.Count != state.PageScan {
		t.Errorf("of very many: %+v, %v", e, err)
	}
}

// guarded has exits held from the second member who leaves on.
func guarded(r *domain.Rules) {
	r.Guard = domain.Guard{Share: 0.3, Count: 2, Window: time.Hour}
}

func TestHeldExitsAreThoseOfTheGuard(t *testing.T) {
	r := newRoom(t, domain.SendAttribute, guarded)
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "vip", 1))
	r.drain(delivered)
	other := func(e *domain.Event) { e.Space, e.ComputationID = "spa_2", "aud_2" }
	r.receive(enter("dan", "vip", 1, other)) // held, and not by the guard
	r.receive(exit("ann", "vip", 2))
	r.receive(exit("bob", "vip", 2))
	r.receive(exit("cid", "vip", 2))
	held := func(numbers []uint32, until uint64, from []byte) (seqs []uint64) {
		page, next, err := r.HeldExits(numbers, until, from)
		r.Must(err)
		if next != nil {
			t.Errorf("there is more from %x", next)
		}
		for _, id := range page {
			seqs = append(seqs, id.Seq)
		}
		return seqs
	}
	for _, tc := range []struct {
		numbers []uint32
		until   uint64
		from    []byte
		want    []uint64
	}{
		{[]uint32{0, 1}, 100, nil, []uint64{6, 7}}, {[]uint32{0}, 6, nil, []uint64{6}}, {[]uint32{0}, 5, nil, nil},
		{[]uint32{1}, 100, nil, nil}, {[]uint32{0}, 100, state.IDKey(domain.ID{Seq: 7}), []uint64{7}}, {nil, 100, nil, nil},
	} {
		if got := held(tc.numbers, tc.until, tc.from); !slices.Equal(got, tc.want) {
			t.Errorf("of %v up to %d: %v, want %v", tc.numbers, tc.until, got, tc.want)
		}
	}
	list, err := r.Computations()
	if r.Must(err); list[0].ExitsHeldSince == "" || list[0].Held != 2 || list[0].Conflict != nil {
		t.Errorf("%+v", list[0])
	}
	// Two computations have the key, so its id is typed.
	want := "too many members left vip at once: `personasync audience release aud_vip` sends the exits, `personasync audience discard aud_vip` drops them"
	if c := r.page("bob").Pending[0]; c.Wait != domain.WaitHeld || c.Sentence != want {
		t.Errorf("%s: %q", c.Wait, c.Sentence)
	}
	if c := r.page("dan").Pending[0]; c.Reason != "key_conflict" || !strings.Contains(c.Sentence, "aud_2") || strings.Contains(c.Sentence, "release") {
		t.Errorf("%s: %q", c.Reason, c.Sentence)
	}
}

func TestExMembersAreThoseWhoLeftLongAgo(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 1), exit("cid", "vip", 5), exit("dan", "vip", 9), trait("eve", "score", 1, "score", "false"))
	r.drain(delivered)
	r.receive(exit("bob", "vip", 2)) // not told yet
	got, next, err := r.ExMembers(nil, noon.Add(6*time.Minute).UnixNano())
	if r.Must(err); !slices.Equal(got, []string{"cid"}) || next != nil {
		t.Errorf("they are %v, and then %x", got, next)
	}
	r.drain(delivered)
	got, _, err = r.ExMembers(nil, noon.Add(6*time.Minute).UnixNano())
	if slices.Sort(got); err != nil || !slices.Equal(got, []string{"bob", "cid"}) {
		t.Errorf("they are %v, %v", got, err)
	}
	r.Put(state.BucketRows, state.RowKey(state.UserKey("cid"), 0), []byte("rubbish"))
	if got, _, err = r.ExMembers(nil, noon.Add(6*time.Minute).UnixNano()); err != nil || !slices.Equal(got, []string{"bob"}) {
		t.Errorf("beside a corrupt row they are %v, %v", got, err)
	}
}

// TestRowsAreReadInPages: each function that walks all rows reads a bounded number, and says where to go on.
func TestRowsAreReadInPages(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	var events []*domain.Event
	const all = state.PageScan + 7
	for i := range all {
		events = append(events, exit(fmt.Sprintf("u%d", i), "vip", 1))
	}
	r.receive(events...)
	seen := map[string]int{}
	pages := 0
	for from, first := []byte(nil), true; first || from != nil; first = false {
		page, next, err := r.ExMembers(from, receipt.UnixNano())
		r.Must(err)
		for _, u := range page {
			seen[u]++
		}
		pages, from = pages+1, next
	}
	rows := map[string]int{}
	for from, first := []byte(nil), true; first || from != nil; first = false {
		page, next, err := r.UserRows([]uint32{0}, 0, from)
		r.Must(err)
		for _, u := range page {
			rows[string(u.Key)]++
		}
		pages, from = pages+1, next
	}
	if len(seen) != all || len(rows) != all || pages != 4 {
		t.Errorf("%d and %d users of %d, in %d pages", len(seen), len(rows), all, pages)
	}
	for u, n := range seen {
		if n != 1 || rows[string(state.UserKey(u))] != 1 {
			t.Fatalf("%s is read %d and %d times", u, n, rows[string(state.UserKey(u))])
		}
	}
}

func TestUserRowsSayWhatIsKept(t *testing.T) {
	r := newRoom(t, domain.SendAsReceived)
	r.receive(enter("ann", "vip", 1), exit("ann", "vip", 9, track("Left")), enter("bob", "vip", 3), enter("cid", "new", 1), exit("dan", "vip", 2))
	f := r.take(domain.EndpointTransition)
	r.settle(f, delivered)
	page, next, err := r.UserRows([]uint32{0}, noon.Add(5*time.Minute).UnixNano(), nil)
	r.Must(err)
	slices.SortFunc(page, func(a, b UserRow) int { return strings.Compare(string(a.Key[1:]), string(b.Key[1:])) })
	at := func(minute int) int64 { return noon.Add(time.Duration(minute) * time.Minute).UnixNano() }
	want := []UserRow{
		{Key: state.UserKey("ann"), Told: true, Time: at(9), Old: true, Some: true},
		{Key: state.UserKey("bob"), In: true, Told: true, Time: at(3), Old: true, Some: true},
		{Key: state.UserKey("dan"), Time: at(2), Old: true},
	}
	if fmt.Sprint(page) != fmt.Sprint(want) || next != nil {
		t.Errorf("they are\n%v\nwant\n%v", page, want)
	}
}
