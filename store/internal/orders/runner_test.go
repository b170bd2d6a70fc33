package orders

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/apply"
	"personasync/store/internal/datadir"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/outbox"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
	"personasync/store/internal/writer"
)

// fragile is an inbox that fails one of the appends of orders: the cut-th from now on. 0: none.
type fragile struct {
	*wal.Log
	cut     int
	err     error
	written bool // the records are on disk all the same
	appends int
}

func (l *fragile) AppendOther(ctx context.Context, frames ...[]byte) error {
	if l.appends++; l.appends != l.cut {
		return l.Log.AppendOther(ctx, frames...)
	}
	if l.written {
		if err := l.Log.AppendOther(ctx, frames...); err != nil {
			return err
		}
	}
	return l.err
}

// unreadable is a state that fails one read: the cut-th from now on. 0: none.
type unreadable struct {
	engine.State
	cut, reads int
	failed     bool
}

var errUnread = errors.New("the disk does not answer")

func (s *unreadable) View(f func(engine.Tx) error) error {
	if s.reads++; s.reads == s.cut {
		s.failed = true
		return errUnread
	}
	return s.State.View(f)
}

// room is a running writer, and the runner of its orders.
type room struct {
	testing.TB
	*Runner
	log   *fragile
	state *unreadable
	own   *query.Reader // of the test, which no read fails
}

// newRoom starts a writer on a directory of its own.
func newRoom(t testing.TB, change func(r *domain.Rules)) *room {
	t.Helper()
	d := dirtest.New(t, domain.SendBoth)
	rules := statetest.Rules(domain.SendBoth)
	if change != nil {
		change(&rules)
	}
	frame, err := record.AppendRules(nil, &rules)
	must(t, err)
	d.Inbox(statetest.Epoch, func(in *wal.Log) { must(t, in.Append(t.Context(), frame)) })
	st := d.Load()
	db, err := bolt.Open(d.StatePath(), 0, false)
	must(t, err)
	inbox, err := wal.Open(d.Path, wal.Config{Epoch: statetest.Epoch, Records: record.InboxRecords})
	must(t, err)
	marker, err := datadir.OpenShutdownMarker(d.Path)
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	parkings, refused := state.NewParkings(time.Now()), refusal.New(time.Now())
	w := writer.New(writer.Config{Log: log, DB: db, State: st, Inbox: inbox, Damage: datadir.NewDamage(log, marker), Parkings: parkings, Refused: refused})
	must(t, w.Recover())
	go w.Run()
	t.Cleanup(func() {
		w.Stop()
		inbox.Close()
		must(t, errors.Join(db.Close(), marker.Close()))
	})
	r := &room{TB: t, log: &fragile{Log: inbox}, state: &unreadable{State: db}, own: &query.Reader{State: db, Inbox: inbox, Parkings: parkings, Refused: refused}}
	r.Runner = &Runner{Dir: d.Path, Reader: &query.Reader{State: r.state, Inbox: inbox, Parkings: parkings, Refused: refused}, Inbox: r.log, Budget: datadir.NewDiskBudget(0), Writer: w}
	return r
}

// receive has events applied.
func (r *room) receive(events ...*domain.Event) {
	r.Helper()
	var frames [][]byte
	for _, e := range events {
		frames = append(frames, statetest.Frame(e))
	}
	must(r, r.log.Append(context.Background(), frames...))
	must(r, r.CaughtUp(context.Background()))
}

// deliver has MoEngage accept what is due of at most so many users.
func (r *room) deliver(users int) { r.answer(users, domain.Delivered) }

// answer has a request with what is due of at most so many users end in a verdict on each.
func (r *room) answer(users int, v domain.Verdict) {
	r.Helper()
	now := time.Now()
	must(r, r.Writer.Do(context.Background(), func(tx *state.Tx) error {
		f, _ := outbox.Take(tx, domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: now, MaxUsers: users, MaxEvents: users,
			Due: func(string) time.Time { return now }, Fit: func(domain.UserChanges) bool { return true },
		})
		o := domain.Settlement{Lease: f.ID, At: now}
		for range f.Users {
			o.Results = append(o.Results, domain.UserResult{Attributes: domain.Result{Verdict: v}, Event: domain.Result{Verdict: v}})
		}
		outbox.Settle(tx, o)
		return nil
	}, nil))
}

// audience has users 0 to n-1 be members of vip.
func (r *room) audience(n int) {
	r.Helper()
	var list []*domain.Event
	for i := range n {
		list = append(list, statetest.Enter(fmt.Sprintf("user%04d", i), "vip", 1))
	}
	r.receive(list...)
}

// members returns the users in an audience, sorted.
func (r *room) members(key string) (list []string) {
	r.Helper()
	must(r, r.own.Read(func(tx *state.Tx) error {
		return tx.Rows.ForEach(func(k, frame []byte) error {
			if binary.BigEndian.Uint16(k[len(k)-2:]) >= state.BlockConsent {
				return nil // not a membership row
			}
			row, err := state.DecodeBlock(k, frame, tx.State.Epochs)
			if err != nil {
				return err
			}
			for _, e := range row.Entries {
				if f := tx.FieldOf(row.Field(e)); f.Key == key && !f.Former() && e.Newest().IsIn() {
					user, _, _ := state.UserOf(k)
					list = append(list, user)
				}
			}
			return nil
		})
	}))
	slices.Sort(list)
	return list
}

func (r *room) ledger() (l state.Ledger) {
	r.Helper()
	must(r, r.own.Read(func(tx *state.Tx) error { l = tx.State.Ledger; return nil }))
	if !l.Changes.Balances() || !l.Events.Balances() {
		r.Errorf("the ledger does not balance: %+v", l)
	}
	return l
}

// parked returns the ids of all parked changes.
func (r *room) parked() (ids []domain.ID) {
	r.Helper()
	must(r, r.own.Read(func(tx *state.Tx) error {
		return tx.Parked.ForEach(func(k, _ []byte) error {
			ids = append(ids, state.IDFromKey(k, tx.State.Epochs))
			return nil
		})
	}))
	return ids
}

// given returns the orders among the records behind number from.
func (r *room) given(from uint64) (list []*record.Order) {
	r.Helper()
	records, err := r.log.Read(from+1, 64<<20)
	must(r, err)
	for i := range records {
		rec, err := record.DecodeRecord(records[i].Seq, records[i].Frame)
		if must(r, err); rec.Order != nil {
			list = append(list, rec.Order)
		}
	}
	return list
}

func users(list ...string) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		for _, u := range list {
			if !yield(u, nil) {
				return
			}
		}
	}
}

// order is an order on a room that was set up for it.
type order struct {
	name  string
	rules func(r *domain.Rules)
	setup func(r *room)
	give  func(r *room) error
}

// anonymous has an event come before anybody signed in, so that it is parked.
func anonymous(e *domain.Event) {
	e.User, e.Anonymous = domain.Identifier{}, domain.Identifier{ID: "anon"}
}

// signedIn reads a parked event of anonymous.
func signedIn(e *domain.Event) *domain.Event {
	e.User = domain.Identifier{ID: "bob"}
	return e
}

// everyOrder returns one order of each kind.
func everyOrder() []order {
	ctx := context.Background()
	again := func(e *domain.Event) { e.ComputationID = "aud_again" }
	late := time.Now().Add(-time.Hour)
	return []order{
		{"import", nil, func(r *room) { r.audience(4) }, func(r *room) error {
			_, err := r.Import(ctx, Import{Key: "vip", AsOf: late, Users: users("user0003", "user0002", "new", "other")})
			return err
		}},
		{"import of an empty list", nil, func(r *room) { r.audience(3) }, func(r *room) error {
			_, err := r.Import(ctx, Import{Key: "vip", AsOf: late, Users: users()})
			return err
		}},
		{"an import that creates its audience", nil, func(*room) {}, func(r *room) error {
			_, err := r.Import(ctx, Import{Key: "vip", AsOf: late, Create: true, Users: users("ann", "bob")})
			return err
		}},
		{"baseline", nil, func(r *room) { r.audience(3) }, func(r *room) error {
			_, err := r.Import(ctx, Import{Key: "vip", AsOf: late, Baseline: true, Users: users("user0001", "new")})
			return err
		}},
		{"close", nil, func(r *room) { r.audience(4) }, func(r *room) error {
			_, err := r.CloseAudience(ctx, "vip", true, false, nil)
			return err
		}},
		{"reconcile", nil, func(r *room) { r.audience(4) }, func(r *room) error {
			_, err := r.Reconcile(ctx, "vip", false, false, nil)
			return err
		}},
		{"reconcile by the time of sending", nil, func(r *room) { r.audience(4); r.deliver(3) }, func(r *room) error {
			_, err := r.ReconcileTold(ctx, "vip", time.Time{}, time.Now(), false, false, nil)
			return err
		}},
		{"adopt", nil, func(r *room) {
			r.audience(3)
			r.receive(statetest.Enter("new", "vip", 5, again), statetest.Enter("user0001", "vip", 5, again))
		}, func(r *room) error {
			_, err := r.Adopt(ctx, "vip", "aud_again", false, nil)
			return err
		}},
		{"remove", nil, func(r *room) { r.receive(statetest.Exit("ann", "vip", 1)) }, func(r *room) error {
			_, err := r.Remove(ctx, "vip", false)
			if errors.Is(err, domain.ErrNotFound) { // it was applied
				err = nil
			}
			return err
		}},
		{"drop", nil, func(r *room) {
			r.receive(statetest.Enter("", "vip", 1, anonymous), statetest.Enter("ann", "vip", 1))
		}, func(r *room) error { return r.Drop(ctx, time.Now(), r.parked()) }},
		{"read again", nil, func(r *room) { r.receive(statetest.Enter("", "vip", 1, anonymous), statetest.Enter("ann", "vip", 1)) }, func(r *room) error {
			_, err := r.ReadAgain(ctx, time.Now(), r.parked(), signedIn)
			return err
		}},
		{"release", guarded, massExit, func(r *room) error {
			_, err := r.Decide(ctx, "vip", false, false, nil)
			return err
		}},
		{"discard", guarded, massExit, func(r *room) error {
			_, err := r.Decide(ctx, "vip", true, false, nil)
			return err
		}},
	}
}

// TestAnOrderThatIsCutShortAnywhereIsFinishedWhenItIsGivenAgain cuts each order at each of its appends, by a disk that
// is full and by one whose answer is lost, and gives it again. It ends as one that was never cut.
func TestAnOrderThatIsCutShortAnywhereIsFinishedWhenItIsGivenAgain(t *testing.T) {
	ctx := context.Background()
	for _, tc := range everyOrder() {
		t.Run(tc.name, func(t *testing.T) {
			whole := newRoom(t, tc.rules)
			tc.setup(whole)
			before := whole.ledger()
			whole.log.appends = 0
			must(t, tc.give(whole))
			appends := whole.log.appends
			if appends == 0 || !strings.HasPrefix(tc.name, "reconcile") && tc.name != "baseline" && tc.name != "remove" && fmt.Sprint(before) == fmt.Sprint(whole.ledger()) {
				t.Fatalf("%d appends and no difference show nothing", appends)
			}
			for cut := 1; cut <= appends; cut++ {
				for _, written := range []bool{false, true} {
					r := newRoom(t, tc.rules)
					tc.setup(r)
					r.log.appends, r.log.cut, r.log.written = 0, cut, written
					r.log.err = domain.ErrFull
					if written {
						r.log.err = &engine.DoubtError{Cause: errors.New("the answer is lost")}
					}
					err := tc.give(r)
					want := "nothing was done; make room on the disk of " + r.Dir + ", then give the order again"
					switch {
					case written:
						want = "" // in doubt, or in part
					case cut > 1:
						want = "a part of the order is on disk"
					}
					if !errors.Is(err, r.log.err) || !strings.Contains(fmt.Sprint(err), want) || written && cut == 1 && !strings.Contains(err.Error(), "it is not known whether the order is on disk") {
						t.Errorf("cut at %d of %d, written %v: %v", cut, appends, written, err)
					}
					must(t, r.CaughtUp(ctx))
					must(t, tc.give(r))
					if got, want := r.members("vip"), whole.members("vip"); !slices.Equal(got, want) {
						t.Errorf("cut at %d, written %v: members %v, want %v", cut, written, got, want)
					}
					got, want2 := r.ledger(), whole.ledger()
					if got.Changes.Held != want2.Changes.Held || got.Changes.Parked != want2.Changes.Parked || got.Events.Parked != want2.Events.Parked || got.Changes.Pending != want2.Changes.Pending || got.Users != want2.Users {
						t.Errorf("cut at %d, written %v: the ledger says\n%+v\n%+v", cut, written, got, want2)
					}
				}
			}
		})
	}
}

// askForConsent has the computations of a room ask for a category that nobody gave.
func askForConsent(r *room) {
	r.Helper()
	rules := statetest.Rules(domain.SendBoth)
	rules.Defaults.Consent = []string{"Marketing"}
	frame, err := record.AppendRules(nil, &rules)
	must(r, err)
	must(r, r.log.AppendOther(context.Background(), frame))
	must(r, r.CaughtUp(context.Background()))
}

// TestAnOrderThatCannotReadTheStateSaysSo fails each read of each order, and gives it again.
func TestAnOrderThatCannotReadTheStateSaysSo(t *testing.T) {
	for _, tc := range append(everyOrder(), order{"compare consent", nil, func(r *room) {
		r.audience(3)
		askForConsent(r)
	}, func(r *room) error {
		_, err := r.CompareConsent(context.Background())
		return err
	}}, order{"foresee what is read again", nil, func(r *room) { r.receive(statetest.Enter("", "vip", 1, anonymous)) }, func(r *room) error {
		_, err := r.ForeseeAgain(r.parked(), signedIn)
		return err
	}}) {
		t.Run(tc.name, func(t *testing.T) {
			whole := newRoom(t, tc.rules)
			tc.setup(whole)
			whole.state.reads = 0
			must(t, tc.give(whole))
			for cut := 1; cut <= whole.state.reads; cut++ {
				r := newRoom(t, tc.rules)
				tc.setup(r)
				r.state.reads, r.state.cut = 0, cut
				if err := tc.give(r); r.state.failed && !errors.Is(err, errUnread) {
					t.Errorf("read %d of %d fails: %v", cut, whole.state.reads, err)
				}
				must(t, r.CaughtUp(t.Context()))
				must(t, tc.give(r))
				if got, want := r.members("vip"), whole.members("vip"); !slices.Equal(got, want) {
					t.Errorf("after read %d failed and the order was given again: members %v, want %v", cut, got, want)
				}
			}
		})
	}
}

// TestAReportSaysWhatAnOrderCameTo, see "Operations on memberships" in docs/semantics.md.
func TestAReportSaysWhatAnOrderCameTo(t *testing.T) {
	ctx := context.Background()
	r := newRoom(t, nil)
	asOf := statetest.Noon.Add(10 * time.Minute)
	r.receive(statetest.Enter("stays", "vip", 1), statetest.Enter("leaves", "vip", 1), statetest.Enter("comes later", "vip", 20),
		statetest.Enter("left", "vip", 1), statetest.Exit("left", "vip", 2), statetest.Enter("left later", "vip", 1), statetest.Exit("left later", "vip", 20),
		statetest.Enter("left then", "vip", 1), statetest.Exit("left then", "vip", 10), statetest.Enter("erased", "vip", 1))
	must(t, r.Writer.Do(ctx, func(tx *state.Tx) error {
		apply.Forget(tx, tx.User("erased"), statetest.Noon.Add(15*time.Minute))
		return nil
	}, nil))
	list := users("stays", "stays", "left", "left later", "left then", "new", "erased")
	check := func(what string, got Report, err error, want Report) {
		t.Helper()
		want.Key, want.ID, want.Created, want.Held = "vip", "aud_vip", got.Created, got.Held
		if err != nil || got != want {
			t.Errorf("%s:\n%+v, %v, want\n%+v", what, got, err, want)
		}
	}
	var far []int64
	got, err := r.Import(ctx, Import{Key: "vip", AsOf: asOf, Users: list, Progress: func(done, total int64) { far = append(far, done, total) }})
	// Newer: "comes later" and "left later" by events of later, "left then" since an exit beats an enter of one time, and
	// "erased" since, by an order of later.
	check("import", got, err, Report{Listed: 6, Repeated: 1, Enters: 2, Exits: 1, Unchanged: 1, Newer: 4})
	if n := len(far); n < 2 || far[n-2] != 7 || far[n-1] != 7 {
		t.Errorf("progress %v", far)
	}
	if got, want := r.members("vip"), []string{"comes later", "left", "new", "stays"}; !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
	got, err = r.Import(ctx, Import{Key: "vip", AsOf: asOf, Users: list})
	check("once more", got, err, Report{Listed: 6, Repeated: 1, Unchanged: 4, Newer: 4})
	got, err = r.Reconcile(ctx, "vip", false, false, nil)
	check("reconcile", got, err, Report{Again: got.Again})
	if got.Again < 4 {
		t.Errorf("%d of four members, and those who left, are sent again", got.Again)
	}
	before := time.Now()
	got, err = r.ReconcileTold(ctx, "vip", statetest.Noon, before, false, false, nil)
	check("reconcile before anything was accepted", got, err, Report{HistoryFrom: got.HistoryFrom})
	r.deliver(2)
	got, err = r.ReconcileTold(ctx, "vip", before.Truncate(time.Second), time.Now().Add(time.Minute), false, false, nil)
	check("reconcile by the time of sending", got, err, Report{Again: 2, HistoryFrom: got.HistoryFrom})
	if got.HistoryFrom == "" {
		t.Error("it does not say how far back the history goes")
	}
	got, err = r.ReconcileTold(ctx, "vip", statetest.Noon, before.Truncate(time.Second), false, false, nil)
	check("reconcile of a time before", got, err, Report{HistoryFrom: got.HistoryFrom})
	got, err = r.CloseAudience(ctx, "vip", false, false, nil)
	check("close", got, err, Report{Exits: 4})
	if members := r.members("vip"); len(members) != 0 {
		t.Errorf("after the close %q are members", members)
	}
	got, err = r.CloseAudience(ctx, "vip", false, false, nil)
	check("close again", got, err, Report{})
}

func TestAReportOfADecisionCountsExits(t *testing.T) {
	ctx := context.Background()
	for _, discard := range []bool{false, true} {
		r := newRoom(t, guarded)
		massExit(r)
		held := r.ledger().Changes.Held
		got, err := r.Decide(ctx, "vip", discard, false, nil)
		must(t, err)
		if got.Decided != held || !got.Tripped || got.Held != 0 || (got.Enters == 6) != discard || r.ledger().Changes.Held != 0 {
			t.Errorf("discard %v of %d: %+v", discard, held, got)
		}
		if n := len(r.members("vip")); n != map[bool]int{false: 4, true: 10}[discard] {
			t.Errorf("discard %v: %d are members", discard, n)
		}
		if got, err = r.Decide(ctx, "vip", discard, false, nil); err != nil || got.Decided+got.Enters != 0 || got.Tripped {
			t.Errorf("discard %v, once more: %+v, %v", discard, got, err)
		}
	}
}

func TestAReportOfAnAdoptionSaysWhetherItWasDoneBefore(t *testing.T) {
	ctx := context.Background()
	r := newRoom(t, nil)
	r.audience(3)
	r.receive(statetest.Enter("new", "vip", 5, func(e *domain.Event) { e.ComputationID = "aud_again" }))
	got, err := r.Adopt(ctx, "vip", "aud_again", true, nil)
	if err != nil || got.Already || !got.DryRun || got.Listed != 3 && got.Listed != 1 {
		t.Errorf("a dry run: %+v, %v", got, err)
	}
	dry := got
	if got, err = r.Adopt(ctx, "vip", "aud_again", false, nil); err != nil || got.Already || got.DryRun || got.Key != "vip" || got.ID != "aud_again" {
		t.Errorf("an adoption: %+v, %v; it foresaw %+v", got, err, dry)
	}
	if n := len(r.members("vip")); n != 4 {
		t.Errorf("%d are members", n)
	}
	if got, err = r.Adopt(ctx, "vip", "aud_again", false, nil); err != nil || !got.Already || got.Created != 0 {
		t.Errorf("once more: %+v, %v", got, err)
	}
}

// guarded has the guard hold exits once more than two of a third of an audience leave.
func guarded(r *domain.Rules) {
	r.Guard = domain.Guard{Share: 0.34, Count: 2, Window: time.Hour}
}

// massExit has six members of ten leave.
func massExit(r *room) {
	r.Helper()
	r.audience(10)
	for i := range 6 {
		r.receive(statetest.Exit(fmt.Sprintf("user%04d", i), "vip", 70, statetest.ReceivedAt(statetest.Noon.Add(2*time.Hour))))
	}
	must(r, r.Writer.Await(context.Background(), func() (swept bool, err error) {
		err = r.own.Read(func(tx *state.Tx) error {
			f, err := tx.State.Registry.One("vip")
			swept = err == nil && f.Exits.Swept == nil && !f.Exits.Tripped.IsZero()
			return err
		})
		return swept, err
	}))
	if r.ledger().Changes.Held == 0 {
		r.Fatal("the guard holds nothing")
	}
}

func TestALongImportGoesOnBehindThePartThatIsOnDisk(t *testing.T) {
	ctx := context.Background()
	var list []string
	for i := range usersAtOnce + 100 {
		list = append(list, fmt.Sprintf("user%05d", i))
	}
	for cut, done := range map[int]int{2: 0, 3: usersAtOnce} { // the first users, and those behind them
		r := newRoom(t, nil)
		give := func() (Report, error) {
			return r.Import(ctx, Import{Key: "vip", AsOf: time.Now().Add(-time.Hour), Create: true, Users: users(list...)})
		}
		r.log.cut, r.log.err = cut, domain.ErrFull // behind the name
		if _, err := give(); !errors.Is(err, domain.ErrFull) || !strings.Contains(err.Error(), "a part of the order is on disk and takes effect by itself as soon as it can be applied; make room on the disk of "+r.Dir) {
			t.Errorf("%v", err)
		}
		must(t, r.CaughtUp(ctx))
		if n := len(r.members("vip")); n != done {
			t.Errorf("cut at %d: %d are members", cut, n)
		}
		before := r.Inbox.Last()
		got, err := give()
		must(t, err)
		named := 0
		for _, o := range r.given(before) {
			named += len(o.Targets)
		}
		if named != len(list) { // those who are members by now are named, too: the list is of later
			t.Errorf("the order names %d users", named)
		}
		if got.Listed != usersAtOnce+100 || got.Enters != uint64(len(list)-done) || got.Unchanged != uint64(done) || got.Exits+got.Newer+got.Repeated != 0 || got.Created != uint64(len(list)-done) || got.DryRun {
			t.Errorf("%+v", got)
		}
		if !slices.Equal(r.members("vip"), list) {
			t.Error("the members are others")
		}
	}
}

// TestALongListOfExitsSaysWhatFailed: those who are on no list are behind a user of the list, or behind its end.
func TestALongListOfExitsSaysWhatFailed(t *testing.T) {
	ctx := context.Background()
	for _, listed := range []string{"a", "zzz"} {
		r := newRoom(t, nil)
		var list []string
		for i := range usersAtOnce + 100 {
			list = append(list, fmt.Sprintf("user%05d", i))
		}
		_, err := r.Import(ctx, Import{Key: "vip", AsOf: time.Now().Add(-2 * time.Hour), Create: true, Users: users(list...)})
		must(t, err)
		give := func() (Report, error) {
			return r.Import(ctx, Import{Key: "vip", AsOf: time.Now().Add(-time.Hour), Users: users(listed)})
		}
		r.log.appends, r.log.cut, r.log.err = 0, 1, domain.ErrFull
		if _, err := give(); !errors.Is(err, domain.ErrFull) || !strings.Contains(err.Error(), "nothing was done") {
			t.Errorf("beside %s: %v", listed, err)
		}
		if n := len(r.members("vip")); n != len(list) {
			t.Errorf("beside %s: %d are members after an import that failed", listed, n)
		}
		if got, err := give(); err != nil || got.Exits != uint64(len(list)) || got.Enters != 1 || len(r.members("vip")) != 1 {
			t.Errorf("beside %s: %+v, %v", listed, got, err)
		}
	}
}

func TestADryRunWritesNothing(t *testing.T) {
	ctx := context.Background()
	r := newRoom(t, guarded)
	massExit(r)
	before, last := r.ledger(), r.Inbox.Last()
	for name, give := range map[string]func() (Report, error){
		"import": func() (Report, error) {
			return r.Import(ctx, Import{Key: "vip", AsOf: time.Now(), DryRun: true, Users: users("a", "a", "user0009")})
		},
		"import of a new key": func() (Report, error) {
			return r.Import(ctx, Import{Key: "new", AsOf: time.Now(), DryRun: true, Create: true, Users: users("a")})
		},
		"reconcile": func() (Report, error) { return r.Reconcile(ctx, "vip", false, true, nil) },
		"close":     func() (Report, error) { return r.CloseAudience(ctx, "vip", false, true, nil) },
		"release":   func() (Report, error) { return r.Decide(ctx, "vip", false, true, nil) },
		"discard":   func() (Report, error) { return r.Decide(ctx, "vip", true, true, nil) },
	} {
		got, err := give()
		must(t, err)
		want := map[string]Report{
			"import":              {Listed: 2, Repeated: 1, Enters: 1, Exits: 3, Unchanged: 7},
			"import of a new key": {Listed: 1, Enters: 1},
			"reconcile":           {Again: 4},
			"close":               {Exits: 4},
			"release":             {Tripped: true},
			"discard":             {Tripped: true, Enters: 6},
		}[name]
		want.Key, want.ID, want.DryRun, want.Held, want.Decided = got.Key, got.ID, true, got.Held, got.Decided
		if got != want || (got.Decided > 0) != got.Tripped || got.Key == "" {
			t.Errorf("%s:\n%+v\n%+v", name, got, want)
		}
	}
	if after := r.ledger(); fmt.Sprint(after) != fmt.Sprint(before) || r.Inbox.Last() != last {
		t.Errorf("the ledger says\n%+v\n%+v, the last record is %d of %d", before, after, last, r.Inbox.Last())
	}
}

func TestAnOrderThatCannotBeIsRefusedBeforeAnything(t *testing.T) {
	ctx := context.Background()
	r := newRoom(t, nil)
	r.audience(2)
	r.receive(statetest.Trait("ann", "score", 1, "score", "7"))
	last := r.Inbox.Last()
	broken := errors.New("the file ends")
	failing := func(yield func(string, error) bool) { _ = yield("ann", nil) && yield("", broken) }
	for name, tc := range map[string]struct {
		err  error
		want error
		says string
	}{
		"import of a trait":       {onlyErr(r.Import(ctx, Import{Key: "score", Users: users("a")})), ErrNoMembers, ""},
		"import of an unknown":    {onlyErr(r.Import(ctx, Import{Key: "none", Users: users("a")})), domain.ErrNotFound, ""},
		"import of the future":    {onlyErr(r.Import(ctx, Import{Key: "vip", AsOf: time.Now().Add(time.Hour), Users: users("a")})), nil, "which is to come"},
		"a list that fails":       {onlyErr(r.Import(ctx, Import{Key: "vip", Users: failing})), broken, ""},
		"a list with an empty id": {onlyErr(r.Import(ctx, Import{Key: "vip", Users: users("a", "")})), nil, "an id has 1 to"},
		"closing a trait":         {onlyErr(r.CloseAudience(ctx, "score", false, false, nil)), ErrNoMembers, ""},
		"closing an unknown":      {onlyErr(r.CloseAudience(ctx, "none", false, false, nil)), domain.ErrNotFound, ""},
		"reconciling an unknown":  {onlyErr(r.Reconcile(ctx, "none", false, false, nil)), domain.ErrNotFound, ""},
		"removing one with users": {onlyErr(r.Remove(ctx, "vip", false)), ErrReferredTo, "`personasync audience close vip`"},
		"too many changes":        {r.Retry(ctx, time.Now(), make([]domain.ID, record.MaxActionIDs+1)), nil, "10001 changes are too many at once"},
		"too many attributes":     {r.Repair(ctx, time.Now(), make([]record.Told, record.MaxRepair+1)), nil, "10001 attributes are too many"},
	} {
		if tc.err == nil || tc.want != nil && !errors.Is(tc.err, tc.want) || !strings.Contains(tc.err.Error(), tc.says) {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
	must(t, errors.Join(r.Retry(ctx, time.Now(), nil), r.Repair(ctx, time.Now(), nil)))
	if r.Inbox.Last() != last {
		t.Error("something was written")
	}
	r.Budget.Full.Store(&datadir.FullError{Reason: "no room"})
	if err := onlyErr(r.CloseAudience(ctx, "vip", false, false, nil)); !errors.Is(err, domain.ErrFull) || !strings.Contains(err.Error(), "nothing was done; make room on the disk of "+r.Dir) {
		t.Errorf("on a full disk: %v", err)
	}
	if err := r.Repair(ctx, time.Now(), make([]record.Told, 1)); !errors.Is(err, domain.ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
}

func onlyErr(_ Report, err error) error { return err }

// TestACallerThatGoesAwayIsToldWhetherTheOrderTakesEffect: its context ends while the writer is busy.
func TestACallerThatGoesAwayIsToldWhetherTheOrderTakesEffect(t *testing.T) {
	r := newRoom(t, nil)
	r.receive(statetest.Enter("", "vip", 1, anonymous))
	ids := r.parked()
	if len(ids) != 1 {
		t.Fatalf("%d are parked", len(ids))
	}
	ctx, cancel := context.WithCancel(t.Context())
	must(t, r.Writer.Pause(func() {
		time.AfterFunc(50*time.Millisecond, cancel)
		err := r.Drop(ctx, time.Now(), ids)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the order is on disk; it takes effect by itself and need not be given again") {
			t.Errorf("%v", err)
		}
		if err := r.CaughtUp(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nothing was done; give the order again") {
			t.Errorf("%v", err)
		}
	}))
	must(t, r.CaughtUp(t.Context()))
	if n := len(r.parked()); n != 0 {
		t.Errorf("%d are parked", n)
	}
}

func TestParkedEventsAreReadAgain(t *testing.T) {
	ctx := context.Background()
	r := newRoom(t, nil)
	r.receive(statetest.Enter("", "vip", 1, anonymous), statetest.Enter("", "vip", 2, anonymous), statetest.Enter("ann", "vip", 1))
	ids := r.parked()
	read := func(e *domain.Event) *domain.Event { // the first can be read now
		if e.Time.Equal(statetest.Noon.Add(time.Minute)) {
			e.User = domain.Identifier{ID: "bob"}
		}
		return e
	}
	last := r.Inbox.Last()
	foreseen, err := r.ForeseeAgain(ids, read)
	must(t, err)
	if !slices.Equal(foreseen, ids[1:]) || r.Inbox.Last() != last || len(r.parked()) != 2 {
		t.Errorf("foreseen %v of %v", foreseen, ids)
	}
	r.log.cut, r.log.err = r.log.appends+1, domain.ErrFull
	if _, err := r.ReadAgain(ctx, time.Now(), ids, read); !errors.Is(err, domain.ErrFull) || !strings.Contains(err.Error(), "nothing was done") {
		t.Errorf("%v", err)
	}
	r.log.cut, r.log.appends = 0, 0
	left, err := r.ReadAgain(ctx, time.Now(), append(ids, domain.ID{Epoch: 1, Seq: 99}), read)
	must(t, err)
	if !slices.Equal(left, ids[1:]) || !slices.Equal(r.parked(), ids[1:]) || !slices.Equal(r.members("vip"), []string{"ann", "bob"}) {
		t.Errorf("left %v of %v, members %v", left, ids, r.members("vip"))
	}
	if r.log.appends != 1 {
		t.Errorf("two small events take %d appends", r.log.appends)
	}
}

// TestAReleaseSendsNoExitThatADiscardHadNotComeTo: the discard was cut short, and the exits that it had not come to are
// still held.
func TestAReleaseSendsNoExitThatADiscardHadNotComeTo(t *testing.T) {
	r := newRoom(t, guarded)
	massExit(r)
	r.log.appends, r.log.cut, r.log.err = 0, 2, domain.ErrFull
	if _, err := r.Decide(t.Context(), "vip", true, false, nil); !errors.Is(err, domain.ErrFull) {
		t.Fatalf("the discard is not cut short: %v", err)
	}
	must(t, r.CaughtUp(t.Context()))
	_, err := r.Decide(t.Context(), "vip", false, false, nil)
	must(t, err)
	if n := len(r.members("vip")); n != 10 {
		t.Errorf("%d are members of 10", n)
	}
}

// TestConsentIsComparedUntilEveryUserWas, and says whether there was anybody to compare.
func TestConsentIsComparedUntilEveryUserWas(t *testing.T) {
	r := newRoom(t, nil)
	r.audience(1_100) // more than one record compares
	askForConsent(r)
	for _, want := range []bool{true, false} {
		if some, err := r.CompareConsent(t.Context()); err != nil || some != want {
			t.Errorf("some %v, want %v, %v", some, want, err)
		}
		if l := r.ledger(); l.Changes.Withheld == 0 || l.Changes.Pending != 0 {
			t.Errorf("some %v: %+v", want, l.Changes)
		}
	}
}

// TestAnOrderNamesTheOperator, in each of its records.
func TestAnOrderNamesTheOperator(t *testing.T) {
	r := newRoom(t, nil)
	r.audience(2)
	before := r.Inbox.Last()
	for _, by := range []string{"olga", ""} {
		ctx := t.Context()
		if by != "" {
			ctx = WithOperator(ctx, by)
		}
		_, err := r.Reconcile(ctx, "vip", false, false, nil)
		must(t, err)
		list := r.given(before)
		if len(list) == 0 || list[0].By != by {
			t.Errorf("%q gave %d orders: %+v", by, len(list), list)
		}
		before = r.Inbox.Last()
	}
}

// TestAComputationWithChangesIsNotRemoved: the refusal says in which state there are some, and how to find them.
func TestAComputationWithChangesIsNotRemoved(t *testing.T) {
	r := newRoom(t, nil)
	r.receive(statetest.Enter("ann", "vip", 1), statetest.Exit("ann", "vip", 2), statetest.Enter("bob", "other", 1))
	for _, state := range []string{"pending", "parked"} {
		_, err := r.Remove(t.Context(), "vip", false)
		if !errors.Is(err, ErrReferredTo) || !strings.Contains(err.Error(), "`personasync outbox list --state "+state+" --computation vip`") {
			t.Errorf("%s: %v", state, err)
		}
		for n := 0; n < 9 && r.ledger().Changes.Pending > 0; n++ { // each request has one event of a user
			r.answer(10, domain.Parked)
		}
	}
	must(t, r.Drop(t.Context(), time.Now(), r.parked()))
	if got, err := r.Remove(t.Context(), "vip", false); err != nil || got.Removed != 1 {
		t.Errorf("once there are none: %+v, %v", got, err)
	}
}
