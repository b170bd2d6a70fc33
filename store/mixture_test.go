package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
)

// mixture is the model of a day on which everything is in use that keeps a change from MoEngage: consent, a share, a
// holdout, a pause, deletes at MoEngage, and the guard. A nil one is of a day without.
type mixture struct {
	sure    map[string]bool      // by user.key: MoEngage was told, or may have been
	until   map[string]time.Time // by user: MoEngage deletes them until then
	dropped bool                 // an operator dropped something
}

// TestNoMixtureLetsOutWhatOnePartForbids has consent, shares, holdouts, pauses, deletes, the guard, operators, restarts
// and overlapping requests meet. No lease has what any of them forbids at that moment, the books balance after each step, and
// once everything is allowed MoEngage holds what is true here.
func TestNoMixtureLetsOutWhatOnePartForbids(t *testing.T) {
	costly(t, manySeeds)
	sends := []domain.SendMethods{
		domain.SendBoth | domain.SendCohort | domain.SendList, domain.SendAttribute, domain.SendBoth, domain.SendAsReceived | domain.SendCohort, domain.SendCohort,
		domain.SendEvent, domain.SendList, domain.SendAsReceived, domain.SendAttribute | domain.SendCohort, domain.SendEvent | domain.SendList,
	}
	for _, seed := range seeds(10, 3000) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newMixedDay(t, seed, sends).mix() })
		})
	}
}

func newMixedDay(t *testing.T, seed int, sends []domain.SendMethods) *everyday {
	e := newEveryday(t, seed, sends)
	e.them.guarded = true // what is held goes when it may
	e.consents = &consents{of: map[string]*agreement{}, tried: map[string]bool{}}
	e.paused = map[string]bool{}
	e.mixed = &mixture{sure: map[string]bool{}, until: map[string]time.Time{}}
	e.rules.Deletes = domain.Deletes{Send: true, PerDay: 2}
	e.rules.Lists = map[string]domain.UserList{"pilot": domain.NewUserList([]string{"user0", "user3", "user7"})}
	e.orders = []orderKind{
		ordersImport, ordersBaseline, ordersReconcile, ordersReconcile, ordersClose, ordersDiscard, ordersRelease, ordersRetry, ordersCollapse, ordersForget, ordersStatement,
		ordersStatement, ordersStatement, ordersStatement, ordersAsk, ordersAsk, ordersShare, ordersShare, ordersShare, ordersDelete, ordersDelete, ordersDrop, ordersDrop,
		ordersAllow, ordersNight, ordersPause, ordersPause, ordersPause,
	}
	for i := range 3 {
		e.ask(fmt.Sprint("aud", i))
		e.share(fmt.Sprint("aud", i))
	}
	return e
}

// mix is run with deletes, and with a look at everything on the way.
func (e *everyday) mix() {
	for i := range 3 { // as received, a list speaks to the calls that were received
		e.say("user0", fmt.Sprint("aud", i), true)
	}
	for step := range 100 {
		switch n := e.rnd.IntN(21); {
		case n < 6:
			for range 1 + e.rnd.IntN(5) {
				e.say(e.user(), e.key(), e.rnd.IntN(5) >= 5-e.stays)
			}
		case n < 10:
			e.order()
		case n < 13:
			e.take()
		case n == 13:
			e.takeDelete()
		case n < 17:
			if len(e.under) > 0 {
				e.end(e.rnd.IntN(len(e.under)), nil)
			}
		case n < 19:
			time.Sleep(time.Duration(e.rnd.IntN(90)) * time.Second)
		case n == 19:
			e.comply()
		default:
			e.restart()
		}
		e.balance()
		if !e.shaky { // else something received later has an earlier time
			e.wantWatermarksTrue()
		}
		if step%20 == 19 {
			e.wantSound()
		}
	}
	e.allow()
	e.finish()
	e.mixed.compare(e)
	e.compare()
}

// wantSound checks the files and the counts of the guard, and compares the journal with the enters and exits that there
// were.
func (e *everyday) wantSound() {
	r, err := e.Check(context.Background(), nil)
	must(e, err)
	for _, f := range r.Findings {
		e.Errorf("check: %s", f.Message)
	}
	e.wantCounted()
	for name, w := range e.model {
		if w.unheard() {
			continue
		}
		if moves := movesOf(e.bench, name[:5], name[6:]); !slices.Equal(moves, w.moves) {
			e.Errorf("%s: the journal has %v, there were %v", name, moves, w.moves)
		}
	}
}

// share has a computation tell other users.
func (e *everyday) share(key string) {
	p := e.rules.For(key, "")
	p.Rollout = randomRollout(e.rnd)
	e.section(key, p)
}

// deletes has Segment delete a user.
func (e *everyday) deletes(user string) {
	now := time.Now()
	e.receive(&domain.Event{Received: now, Time: now, Call: domain.CallDelete, User: domain.Identifier{ID: user}, MessageID: fmt.Sprint("delete", now.UnixNano()), Raw: []byte("{}")})
	e.erased(user)
}

// changesOf lists the changes in a state.
func (e *everyday) changesOf(s domain.State, reason string) (ids []domain.ID) {
	list, _, err := e.Changes(domain.OutboxFilter{State: s, Reason: reason, Limit: 1000})
	must(e, err)
	for _, c := range list {
		id, err := domain.ParseID(c.ID)
		must(e, err)
		ids = append(ids, id)
	}
	return ids
}

// drops drops some changes of one state.
func (e *everyday) drops() {
	ids := e.changesOf([]domain.State{domain.StatePending, domain.StateHeld, domain.StateParked}[e.rnd.IntN(3)], "")
	e.rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	if ids = ids[:min(len(ids), 1+e.rnd.IntN(4))]; len(ids) == 0 {
		return
	}
	e.mixed.dropped = true
	must(e, e.Drop(context.Background(), time.Now(), ids))
	must(e, e.Applied(context.Background()))
}

// allowsDeletes retries what is held. Only deletes leave by that.
func (e *everyday) allowsDeletes() {
	if ids := e.changesOf(domain.StateHeld, ""); len(ids) > 0 {
		must(e, e.Retry(context.Background(), time.Now(), ids))
		must(e, e.Applied(context.Background()))
	}
}

func (e *everyday) takeDelete() {
	if f := e.takes(onDeletes(e.clock().Add(time.Second))); f != nil {
		e.under = append(e.under, f)
	}
}

// allow has every user told of everything, and every delete done.
func (e *everyday) allow() {
	e.orders = []orderKind{ordersImport, ordersReconcile, ordersClose, ordersRetry, ordersStatement}
	e.rules.Sections = nil
	must(e, e.SetRules(context.Background(), e.rules))
	must(e, e.Applied(context.Background()))
	e.resumes()
	e.comply()
	delivered := domain.Delivered
	for {
		for len(e.under) > 0 {
			e.end(0, &delivered)
		}
		e.retriesParked()
		e.allowsDeletes()
		time.Sleep(2 * time.Minute)
		if e.takeDelete(); len(e.under) == 0 {
			break
		}
	}
	e.night()
	if !e.mixed.dropped {
		return
	}
	e.sendAll() // a reconcile takes what is pending for sent
	for i := range 3 {
		key := fmt.Sprint("aud", i)
		release(e.bench, key)
		_, err := e.Reconcile(context.Background(), key, false, false, nil)
		must(e, err)
	}
}

// night is a restart that takes as long as MoEngage takes to delete. A store that ran meanwhile would look at its files a
// hundred thousand times.
func (e *everyday) night() {
	e.cutOff()
	must(e, e.Store.Close())
	time.Sleep(domain.DeletionBuffer + time.Hour)
	e.Store = nil
	e.restart()
}

// mayDrop reports whether an operator dropped something. A value that does not collapse is sent without those before it
// that were dropped.
func (m *mixture) mayDrop() bool { return m != nil && m.dropped }

// toldOf notes that MoEngage may know of a membership.
func (m *mixture) toldOf(name string) {
	if m != nil {
		m.sure[name] = true
	}
}

// forget has the model forget what MoEngage was told of a user.
func (m *mixture) forget(user string) {
	if m != nil {
		maps.DeleteFunc(m.sure, func(name string, _ bool) bool { return name[:5] == user })
	}
}

// takes has MoEngage delete what it holds of a user and an audience, if it deletes the user about now.
func (m *mixture) takes(e *everyday, name string) {
	if m != nil && time.Now().Before(m.until[name[:5]].Add(time.Hour)) {
		delete(e.them.attributes, name)
		delete(e.them.cohorts, name)
		delete(e.them.lists, name)
	}
}

// becomes notes what MoEngage was told, and reports whether that was to delete the user.
func (m *mixture) becomes(e *everyday, d domain.UserChanges, v domain.Verdict) (deletes bool) {
	happens := v == domain.Delivered || v == domain.Uncertain
	if d.Event == nil || d.Event.Kind != domain.KindDelete {
		for _, a := range d.Attributes {
			if happens {
				m.toldOf(d.User + "." + a.Computation)
			}
		}
		return false
	}
	if v == domain.Delivered || v == domain.Uncertain && e.rnd.IntN(2) == 0 {
		m.until[d.User] = time.Now().Add(domain.DeletionBuffer - time.Hour)
		for i := range 3 {
			name := fmt.Sprint(d.User, ".aud", i)
			m.takes(e, name)
			delete(e.forgotten, name)
		}
	}
	if v == domain.Delivered {
		m.forget(d.User)
	}
	return true
}

// lawful fails the test for what a share, a holdout or a delete forbids in a lease, or another lease has already.
func (m *mixture) lawful(e *everyday, f *domain.Lease) {
	if m == nil || f == nil {
		return
	}
	for _, d := range f.Users {
		inFlight := map[string]bool{}
		for _, o := range e.under {
			for _, x := range o.Users {
				if x.User != d.User {
					continue
				}
				if o.Endpoint == f.Endpoint || o.Endpoint == domain.EndpointDelete || f.Endpoint == domain.EndpointDelete {
					e.Errorf("%s is in requests to %v and %v at once", d.User, o.Endpoint, f.Endpoint)
				}
				for _, a := range x.Attributes {
					inFlight[a.Computation] = true
				}
			}
		}
		if f.Endpoint == domain.EndpointDelete {
			continue
		}
		if time.Now().Before(m.until[d.User]) {
			e.Errorf("%s is told of before MoEngage has deleted them", d.User)
		}
		for _, r := range e.deletionsOf(d.User) {
			if r.State == "pending" {
				e.Errorf("%s is told of, and their delete is pending", d.User)
			}
		}
		list := d.Attributes
		if d.Event != nil {
			list = append(slices.Clone(list), *d.Event)
		}
		for _, c := range list {
			p, name := e.rules.For(c.Computation, ""), d.User+"."+c.Computation
			switch removes := c.Kind != domain.KindEvent && string(c.Value) == "false"; {
			case p.HoldsOut(d.User):
				if !removes {
					e.Errorf("%s is in the holdout, and is told %s %s", name, c.Kind, c.Value)
				}
			case !p.Reaches(d.User) && !m.sure[name] && !inFlight[c.Computation]:
				e.Errorf("%s is beyond the share, and is told %s %s", name, c.Kind, c.Value)
			}
		}
	}
}

// compare holds MoEngage against users of whom nothing was said since they were deleted. The others are everyday.compare's.
func (m *mixture) compare(e *everyday) {
	for name, w := range e.model {
		if !w.unheard() {
			continue
		}
		if e.them.holdsMember(name) && !e.forgotten[name] {
			e.Errorf("%s was deleted, and MoEngage holds a membership", name)
		}
		delete(e.model, name)
	}
	if c := e.balance(); c.Changes.Held+c.Rollout != 0 || c.Deletions.Pending+c.Deletions.Held+c.Deletions.Parked != 0 || c.Comparing != nil {
		e.Errorf("something is left over: %+v", c)
	}
}
