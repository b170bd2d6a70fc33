package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"time"

	"personasync/store/domain"
)

// What bounds a user's page: the entries of history, and the memberships whose event is looked up.
const (
	historyShown = 50
	eventsShown  = 200
	waitingShown = 1000
)

// User returns everything known of one user, or ErrNotFound.
func (v *reader) User(id string) (info *domain.UserInfo, err error) {
	var setBy []uint64
	err = v.read(func(b *batch) error {
		u := b.user(id)
		info = &domain.UserInfo{User: id, Memberships: []domain.MembershipInfo{}, Traits: map[string]json.RawMessage{}, Pending: []domain.UserChange{}, History: []domain.UserChange{}}
		setBy = b.showRows(u, info)
		b.showHistory(u, info)
		if len(info.Memberships)+len(info.Traits)+len(info.Pending)+len(info.History) == 0 {
			return domain.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	info.EventsMore = len(setBy) > eventsShown
	for i, seq := range setBy[:min(len(setBy), eventsShown)] {
		rec := v.record(seq)
		info.Memberships[i].Event = rec.orderedBy()
		if e := rec.told(); e != nil {
			info.Memberships[i].Event, info.Memberships[i].TimeSource = e.MessageID, e.TimeSource.UnreadCode()
		}
	}
	return info, nil
}

// showRows fills the page with what waits and what is known, and returns the number of the record that set
// each membership.
func (b *batch) showRows(u *user, info *domain.UserInfo) (setBy []uint64) {
	type computation struct{ key, id string }
	open := make(map[computation]bool) // with something on the way
	list, more := b.waiting(u, waitingShown)
	b.showWaiting(u, list, info)
	for _, ch := range list {
		if ch.Kind == domain.KindReceived {
			continue // it changed nothing
		}
		open[computation{ch.Computation, ch.ComputedBy}] = true
	}
	info.PendingMore = more
	for _, n := range b.blockNumbers(u) {
		row := b.block(u, n)
		for _, e := range row.entries {
			f := b.fieldOf(row.field(e))
			if f == nil || f.gone() || e.newest() == nil {
				continue
			}
			s := e.newest()
			if f.class == domain.ClassTrait {
				name := cmp.Or(f.column, f.key)
				if _, taken := info.Traits[name]; taken {
					name += " (" + f.space + ")"
				}
				info.Traits[name] = bytes.Clone(s.Value)
				continue
			}
			m := domain.MembershipInfo{
				Computation: f.key, In: s.IsIn(), Since: domain.Timestamp(time.Unix(0, s.Since)),
				Delivered: !more && !open[computation{f.key, f.id}] && b.knows(u, f, e, s),
			}
			m.Told = b.toldOf(u, f, e, &m)
			info.Memberships = append(info.Memberships, m)
			setBy = append(setBy, s.Seq)
		}
	}
	return setBy
}

// knows reports whether MoEngage was told of a membership, or never needed to be: nobody tells it of
// an exit of somebody it never heard of, nor an attribute that the policy does not send.
func (b *batch) knows(u *user, f *field, e *entry, s *domain.Assertion) bool {
	p := b.st.rules.For(f.key, f.id)
	for send, column := range map[domain.SendMethods]string{domain.SendCohort: cohortColumn, domain.SendList: listColumn} {
		if p.Send.Has(send) && !b.knowsTarget(u, f, column, s) {
			return false
		}
	}
	return !p.SendsAttributes() || e.lastSent.is(s.Value) || e.lastSent.kind == neverSent && !s.IsIn() || e.kept[keptIdentify] == nil && p.Send.Has(domain.SendAsReceived)
}

// toldOf says what MoEngage was last told of a membership: in, out, nothing, or uncertain where an answer is
// missing. Of what leaves by events alone there is no last value: then it is the membership once nothing
// of it is under way, and "" before.
func (b *batch) toldOf(u *user, f *field, e *entry, m *domain.MembershipInfo) string {
	t := e.lastSent
	for _, column := range []string{cohortColumn, listColumn} {
		if c := b.targetEntry(u, f, column); t.kind == neverSent && c != nil {
			t = c.lastSent
		}
	}
	switch {
	case t.kind == uncertainlySent:
		return "uncertain"
	case t.is([]byte("true")):
		return "in"
	case t.is([]byte("false")):
		return "out"
	}
	p := b.st.rules.For(f.key, f.id)
	switch {
	case p.SendsAttributes() || p.Send.Has(domain.SendCohort) || p.Send.Has(domain.SendList) || !m.Delivered && !p.Send.Has(domain.SendEvent):
		return "nothing"
	case !m.Delivered:
		return ""
	case m.In:
		return "in"
	}
	return "out"
}

// targetEntry is the entry of a user in the column beside f that a cohort or list has; nil: none.
func (b *batch) targetEntry(u *user, f *field, column string) *entry {
	channel := b.st.registry.beside(f, column)
	if channel == nil {
		return nil
	}
	return b.block(u, uint16(channel.number/blockSize)).find(uint8(channel.number % blockSize))
}

func (b *batch) knowsTarget(u *user, f *field, column string, s *domain.Assertion) bool {
	e := b.targetEntry(u, f, column)
	if e == nil || e.lastSent.kind == neverSent {
		return !s.IsIn()
	}
	return e.lastSent.is(s.Value)
}

func (b *batch) showWaiting(u *user, all []*stored, info *domain.UserInfo) {
	for _, ch := range all {
		c := ch.ofUser()
		c.Argument = b.st.registry.argument(ch.Computation, ch.ComputedBy)
		b.explainWait(u, ch, all, &c)
		info.Pending = append(info.Pending, c)
	}
}

func (ch *stored) ofUser() domain.UserChange {
	c := domain.UserChange{ChangeInfo: ch.Describe(), Sentence: ch.Sentence}
	if ch.Answer != (domain.Answer{}) {
		answer := ch.Answer
		answer.At = answer.At.UTC().Round(0)
		c.Answer = &answer
	}
	return c
}

// explainWait says why ch waits, among all that the user has waiting.
func (b *batch) explainWait(u *user, ch *stored, all []*stored, c *domain.UserChange) {
	switch {
	case ch.State == domain.StateParked:
		c.Wait = domain.WaitParked
	case ch.State == domain.StateHeld:
		c.Wait = domain.WaitHeld
	case b.st.underWay(ch.endpoint, u.id, ch.ID):
		c.Wait = domain.WaitUnderWay
	case b.goesFirst(ch, all) != nil:
		c.Wait, c.Behind = domain.WaitBehind, b.goesFirst(ch, all).ID.String()
	case ch.Attempts > 0:
		c.Wait = domain.WaitRetry
	case u.head.endpoint(ch.endpoint).retry > 0:
		c.Wait, c.Until = domain.WaitUser, domain.Timestamp(time.Unix(int64(u.head.endpoint(ch.endpoint).retry), 0))
	case ch.Kind == domain.KindCohort && (u.head.stranger() || u.head.aside > 0):
		c.Wait, c.Job = domain.WaitAccount, b.st.job(ch.lane)
	default:
		c.Wait, c.Job, c.Bulk = domain.WaitDue, b.st.job(ch.lane), isBulk(ch.lane) && !u.head.urgent()
	}
}

// goesFirst is the earlier event of the same user and endpoint that has failed and waits: it holds up those
// behind it. nil: there is none.
func (b *batch) goesFirst(ch *stored, all []*stored) *stored {
	if ch.Kind != domain.KindEvent {
		return nil
	}
	for _, other := range all {
		if other.ID == ch.ID {
			return nil // all are in the order of their ids
		}
		if other.Kind == domain.KindEvent && other.State == domain.StatePending && other.endpoint == ch.endpoint && other.Attempts > 0 {
			return other
		}
	}
	return nil
}

func (b *batch) showHistory(u *user, info *domain.UserInfo) {
	for n := u.head.history; n != 0; {
		ch := b.fetch(b.history, numberKey(n))
		if info.HistoryMore = ch != nil && len(info.History) == historyShown; ch == nil || info.HistoryMore {
			return
		}
		info.History = append(info.History, ch.ofUser())
		n = ch.prev
	}
}
