package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/state"
)

// moengage is what the other side ends up with.
type moengage struct {
	attributes map[string]string   // user.name -> value
	cohorts    map[string]string   // user.key -> whether the user is in
	lists      map[string]string   // likewise
	events     map[string][]string // user -> change ids with their transition, in order of arrival
	retried    map[string]bool     // users of whom something was parked: their events may come in another order
	guarded    bool                // a held exit goes when it may: then events are in order for each user and audience
}

func newMoengage() *moengage {
	return &moengage{attributes: map[string]string{}, cohorts: map[string]string{}, lists: map[string]string{}, events: map[string][]string{}}
}

// holdsMember reports whether any target holds user.key for a member.
func (m *moengage) holdsMember(name string) bool {
	return m.attributes[name] == "true" || m.cohorts[name] == "true" || m.lists[name] == "true"
}

func (m *moengage) take(d domain.UserChanges) {
	for _, a := range d.Attributes {
		switch a.Kind {
		case domain.KindCohort:
			m.cohorts[d.User+"."+a.Computation] = string(a.Value)
		case domain.KindList:
			m.lists[d.User+"."+a.Computation] = string(a.Value)
		default:
			m.attributes[d.User+"."+a.Name] = string(a.Value)
		}
	}
	if d.Event != nil {
		of := d.User
		if m.guarded {
			of += "." + d.Event.Computation
		}
		m.events[of] = append(m.events[of], fmt.Sprintf("%s %s", d.Event.ID, d.Event.Transition))
	}
}

// word is the model's whole memory of one user and audience: the newest thing said.
type word struct {
	at   int
	in   bool
	gone bool // forgotten

	erased int // when the user was erased last, 0: never

	left uint64 // number of the record that ended the membership, 0 of a member and where a close ended it

	moves []string // every enter and exit, in order

	withheld bool // in the end the user's consent is missing
}

func (w *word) move(in bool) {
	if in && !w.in {
		w.moves = append(w.moves, "enter")
	} else if !in && w.in {
		w.moves = append(w.moves, "exit")
	}
	w.in = in
}

// unheard reports whether nothing was said of the user and the audience, or nothing since the user was erased.
func (w *word) unheard() bool { return w == nil || w.erased > 0 && w.at == w.erased }

// told reports whether MoEngage should hold the user for a member.
func (w *word) told() bool { return w.in && !w.withheld }

func (w *word) hear(at int, in bool) {
	if w.gone {
		return
	}
	if at > w.at || at == w.at && !in {
		w.at = at
		w.move(in)
	}
}

// TestAgainstAModel throws random news in random order at the store, with lost requests, refusals and
// restarts, and compares what MoEngage holds in the end with a model of ten lines.
func TestAgainstAModel(t *testing.T) {
	costly(t, manySeeds)
	for _, seed := range seeds(20, 300) { // every way to send is among them
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, rand.New(rand.NewPCG(uint64(seed), 7)))
		})
	}
}

func runModel(t *testing.T, rnd *rand.Rand) {
	send := []domain.SendMethods{domain.SendAttribute, domain.SendEvent, domain.SendBoth, domain.SendAsReceived, domain.SendCohort, domain.SendList, domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAsReceived | domain.SendCohort | domain.SendList}[rnd.IntN(8)]
	r := rules(send)
	b := open(t, r)
	them := newMoengage()
	if them.guarded = rnd.IntN(2) == 0; them.guarded {
		r.Guard = domain.Guard{Share: 0.3, Count: 1, Window: time.Hour}
		must(t, b.SetRules(context.Background(), r))
	}
	model := map[string]*word{}
	clock := time.Now()
	for range 120 {
		switch n := rnd.IntN(11); {
		case n == 10:
			operate(b, rnd, send, model, them)
		case n < 6:
			for range 1 + rnd.IntN(4) {
				user, key := fmt.Sprint("user", rnd.IntN(3)), fmt.Sprint("aud", rnd.IntN(2))
				at, in := rnd.IntN(28), rnd.IntN(2) == 0
				e := event(user, key, in, at)
				if send == domain.SendAsReceived && rnd.IntN(2) == 0 {
					asTrack("Moved")(e)
				}
				must(t, b.Append(context.Background(), e))
				w := model[user+"."+key]
				if w == nil {
					w = &word{at: -1}
					model[user+"."+key] = w
				}
				w.hear(at*moment, in)
			}
		case n < 9:
			clock = clock.Add(time.Duration(rnd.IntN(3)) * time.Second)
			flyOnce(b, rnd, clock, them)
		default:
			recount(t, b)
			b.reopen(r)
		}
	}
	for _, key := range []string{"aud0", "aud1"} {
		release(b, key)
	}
	b.tell(them)
	compare(t, b, send, model, them)
}

// tell sends everything that waits, on both roads.
func (b *bench) tell(them *moengage) {
	b.Helper()
	for end := time.Now().Add(time.Hour); b.leave(everything(end), them) || b.leave(onCohorts(end.Add(2*state.ProfileDelay*time.Second)), them); {
		end = end.Add(2 * state.ProfileDelay * time.Second)
	}
}

// leave sends what may leave, and reports whether there was any.
func (b *bench) leave(o domain.TakeOptions, them *moengage) (some bool) {
	b.Helper()
	for {
		f, _, err := b.Take(context.Background(), o)
		must(b, err)
		if f == nil {
			return some
		}
		some = true
		for _, d := range f.Users {
			them.take(d)
		}
		b.settle(f, domain.Delivered)
	}
}

// release lets go of what the guard holds, if anything was ever heard of the audience.
func release(b *bench, key string) {
	_, err := b.Decide(context.Background(), key, false, false, nil)
	if !errors.Is(err, domain.ErrNotFound) {
		must(b, err)
	}
}

// moment is the model's minute, so that it has room for what comes just behind one.
const moment = 10

// discardOf makes those members again who left in the guard's window, just behind their exits. Who that is, the
// model does not know; that MoEngage holds the same in the end, and that a newer word decides, it does.
func discardOf(b *bench, key string, model map[string]*word) {
	_, err := b.Decide(context.Background(), key, true, false, nil)
	if errors.Is(err, domain.ErrNotFound) {
		return
	}
	must(b, err)
	for u := range 3 {
		user := fmt.Sprint("user", u)
		w, info := model[user+"."+key], (*domain.UserInfo)(nil)
		if info, err = b.User(user); w == nil || err != nil {
			continue
		}
		for _, m := range info.Memberships {
			if m.Computation == key && m.In && !w.in {
				w.move(true)
				w.at++
			}
		}
	}
}

// operate gives a random order on an audience.
func operate(b *bench, rnd *rand.Rand, send domain.SendMethods, model map[string]*word, them *moengage) {
	key := fmt.Sprint("aud", rnd.IntN(2))
	switch rnd.IntN(24) {
	case 20, 21:
		discardOf(b, key, model)
	case 22:
		release(b, key)
	case 23: // for good: whatever these tests say of the user is from before now
		user := fmt.Sprint("user", rnd.IntN(3))
		_, err := b.Forget(context.Background(), user)
		must(b, err)
		for _, key := range []string{"aud0", "aud1"} {
			model[user+"."+key] = &word{gone: true}
		}
	case 0, 1, 2, 3, 4, 5, 6, 7:
		_, err := b.Reconcile(context.Background(), key, rnd.IntN(2) == 0, false, nil)
		if !errors.Is(err, domain.ErrNotFound) {
			must(b, err)
		}
	default:
		baseline := rnd.IntN(3) == 0
		at, listed := rnd.IntN(28), map[string]bool{}
		var ids []string
		for u := range 3 {
			if id := fmt.Sprint("user", u); rnd.IntN(2) == 0 {
				ids, listed[id] = append(ids, id), true
			}
		}
		b.imports(Import{Key: key, AsOf: minute(at), Users: users(ids...), Create: true, Baseline: baseline, Events: rnd.IntN(2) == 0})
		for u := range 3 {
			hearList(fmt.Sprintf("user%d.%s", u, key), at*moment, listed[fmt.Sprint("user", u)], baseline, send, model, them)
		}
	}
}

// hearList has the model hear what a list says of one user and audience.
func hearList(name string, at int, in, known bool, send domain.SendMethods, model map[string]*word, them *moengage) {
	w := model[name]
	if w == nil {
		if !in {
			return // nobody has heard of him
		}
		w = &word{at: -1}
		model[name] = w
	}
	news := !w.gone && (at > w.at || at == w.at && (in == w.in || !in))
	w.hear(at, in)
	if !known || !news {
		return
	}
	for channel, held := range map[domain.SendMethods]map[string]string{domain.SendAttribute | domain.SendAsReceived: them.attributes, domain.SendCohort: them.cohorts, domain.SendList: them.lists} {
		if _, told := held[name]; send&channel != 0 && (w.in || told) {
			held[name] = fmt.Sprint(w.in)
		}
	}
}

// flyOnce sends what is due and lets a random thing become of each delivery.
func flyOnce(b *bench, rnd *rand.Rand, now time.Time, them *moengage) {
	o := everything(now)
	if rnd.IntN(3) == 0 {
		o = onCohorts(now)
	}
	room := 1 + rnd.IntN(4)
	o.Fit = func(domain.UserChanges) bool { room--; return room >= 0 }
	f, _, err := b.Take(context.Background(), o)
	must(b, err)
	if f == nil {
		return
	}
	out := domain.Settlement{Lease: f.ID, At: now}
	for _, d := range f.Users {
		v := []domain.Verdict{domain.Untried, domain.Delivered, domain.Delivered, domain.Refused, domain.Uncertain}[rnd.IntN(5)]
		if v == domain.Delivered || v == domain.Uncertain && rnd.IntN(2) == 0 {
			them.take(d)
		}
		res := domain.Result{Verdict: v, RetryAt: now.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond), Reason: "model"}
		out.Results = append(out.Results, domain.UserResult{Attributes: res, Event: res})
	}
	must(b, b.Settle(context.Background(), out))
}

func compare(t *testing.T, b *bench, send domain.SendMethods, model map[string]*word, them *moengage) {
	t.Helper()
	for name, w := range model {
		user, key := name[:5], name[6:]
		info, err := b.User(user)
		if w.gone {
			if !errors.Is(err, domain.ErrNotFound) {
				t.Errorf("%s was forgotten: %v", user, err)
			}
			continue
		}
		must(t, err)
		i := slices.IndexFunc(info.Memberships, func(m domain.MembershipInfo) bool { return m.Computation == key })
		if i < 0 || info.Memberships[i].In != w.in {
			t.Errorf("%s: stored %+v, the newest word is %+v", name, info.Memberships, w)
		}
		if moves := movesOf(b, user, key); !slices.Equal(moves, w.moves) {
			t.Errorf("%s: the journal has %v, there were %v", name, moves, w.moves)
		}
		told, was := them.attributes[name]
		if send.Has(domain.SendAttribute) && (w.told() && told != "true" || !w.told() && was && told != "false") {
			t.Errorf("%s: MoEngage holds %q, the membership is %v", name, told, w.in)
		}
		for channel, held := range map[domain.SendMethods]map[string]string{domain.SendCohort: them.cohorts, domain.SendList: them.lists} {
			if told := held[name]; send.Has(channel) && (told == "true") != w.told() {
				t.Errorf("%s: on channel %d MoEngage holds %q, the membership is %v", name, channel, told, w.in)
			}
		}
		if i >= 0 && !w.withheld && !info.Memberships[i].Delivered && !send.Has(domain.SendAsReceived) { // there identify and track may differ
			t.Errorf("%s: said not to be delivered, and everything was", name)
		}
	}
	for user, ids := range them.events {
		if them.retried[user[:5]] {
			continue
		}
		seen := map[string]bool{}
		var once []domain.ID
		for _, line := range ids {
			if id, err := domain.ParseID(line[:bytes.IndexByte([]byte(line), ' ')]); err == nil && !seen[line] {
				seen[line] = true
				once = append(once, id)
			}
		}
		if !slices.IsSortedFunc(once, func(x, y domain.ID) int { return bytes.Compare(state.IDKey(x), state.IDKey(y)) }) {
			t.Errorf("%s: events out of order: %v", user, ids)
		}
	}
	c := b.balance()
	if c.Changes.Pending != 0 || c.Changes.Parked != 0 || c.Unapplied != 0 {
		t.Errorf("left over: %+v", c)
	}
	checkIndex(t, b)
	recount(t, b)
}

// journalOf returns what the journal has of a user, the newest first.
func (b *bench) journalOf(user string) []domain.JournalInfo {
	b.Helper()
	l := NewJournalListing(domain.JournalFilter{User: user, Limit: 100_000})
	for !l.Done() {
		must(b, b.ReadJournal(l))
	}
	return l.Page().Items
}

// movesOf lists the enters and exits of a user and an audience by the journal, the oldest first.
func movesOf(b *bench, user, key string) (moves []string) {
	for _, i := range b.journalOf(user) {
		if i.Moved && i.Computation == key {
			moves = append(moves, i.Transition)
		}
	}
	slices.Reverse(moves)
	return moves
}

// recount fails the test for whatever does not add up in b.
func recount(t testing.TB, b *bench) {
	t.Helper()
	r, err := b.Check(context.Background(), nil)
	must(t, err)
	for _, f := range r.Findings {
		t.Errorf("check: %s", f.Message)
	}
	b.wantCounted()
	b.wantWatermarksTrue()
}

// checkIndex recounts what is derived: no due entry without something pending, and none missing.
func checkIndex(t *testing.T, b *bench) {
	t.Helper()
	must(t, b.r.State.View(func(tx engine.Tx) error {
		for _, name := range [][]byte{state.BucketDue, state.BucketQueue, state.BucketLeases} {
			if k, _ := tx.Bucket(name).Cursor().First(); k != nil {
				t.Errorf("bucket %s is not empty after everything left: %x", name, k)
			}
		}
		return nil
	}))
}

// TestBatchesDoNotMatter applies the same records one by one, and all at once, and compares the files.
func TestBatchesDoNotMatter(t *testing.T) {
	costly(t, manyStores)
	events := ofAllKinds()
	one, all := open(t, rules(domain.SendBoth)), open(t, rules(domain.SendBoth))
	for _, e := range events {
		one.receive(e)
	}
	all.receive(events...)
	if a, b := dump(t, one), dump(t, all); a != b {
		t.Errorf("the state depends on the batches:\n%s", firstDifference(a, b))
	}
}

// ofAllKinds is events of every kind.
func ofAllKinds() (events []*domain.Event) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		e := event(fmt.Sprint("user", rnd.IntN(9)), fmt.Sprint("aud", rnd.IntN(70)), rnd.IntN(2) == 0, rnd.IntN(28))
		switch i % 7 {
		case 1:
			asTrack("Moved")(e)
		case 2:
			e = trait(e.User.ID, fmt.Sprint("t", rnd.IntN(3)), rnd.IntN(28), "a", fmt.Sprint(rnd.IntN(3)), "b", `"x"`)
		case 3:
			e.Fault, e.Sentence = "undetermined", "no flag"
		case 4:
			passThrough(fmt.Sprint(rnd.IntN(20)))(e)
		case 5:
			e.Trace = &domain.Trace{ID: [16]byte{1, 15: byte(i)}, Sampled: i%2 == 0}
		}
		events = append(events, e)
	}
	return append(events, &domain.Event{Received: noon.Add(31 * time.Minute), Time: noon, Call: domain.CallDelete, User: domain.Identifier{ID: "user1"}, Raw: []byte("{}")})
}

// dump prints the state but for what names this store: epoch, salt, and the tombstones under it.
func dump(t *testing.T, b *bench) string {
	var out bytes.Buffer
	must(t, b.r.State.View(func(tx engine.Tx) error {
		for _, name := range slices.SortedFunc(slices.Values(append(slices.Clone(state.StateBuckets), state.BucketMeta)), bytes.Compare) {
			if err := dumpBucket(&out, string(name), tx.Bucket(name)); err != nil {
				return err
			}
		}
		return nil
	}))
	return out.String()
}

func dumpBucket(out *bytes.Buffer, name string, bucket engine.Bucket) error {
	return bucket.ForEach(func(k, v []byte) error {
		switch {
		case name == "tombstones" || name == "meta" && (string(k) == "epoch" || string(k) == "salt" || string(k) == "home" || string(k) == "epochs" || string(k) == "seal"):
			return nil
		case v == nil:
			return dumpBucket(out, name+"/"+fmt.Sprintf("%x", k), bucket.Inner(k))
		}
		if strings.HasPrefix(name, "messages/") {
			k = nil // some are salted
		}
		fmt.Fprintf(out, "%s %x %x\n", name, k, v)
		return nil
	})
}

func firstDifference(a, b string) string {
	x, y := bytes.Split([]byte(a), []byte("\n")), bytes.Split([]byte(b), []byte("\n"))
	for i := range min(len(x), len(y)) {
		if !bytes.Equal(x[i], y[i]) {
			return fmt.Sprintf("%s\n%s", x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines, %d lines", len(x), len(y))
}
