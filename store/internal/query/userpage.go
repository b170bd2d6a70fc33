package query

import (
	"bytes"
	"cmp"
	"encoding/json"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

const (
	eventsShown  = 200
	WaitingShown = 1000
)

// User returns everything known of one user, or ErrNotFound.
func (v *Reader) User(id string) (info *domain.UserInfo, err error) {
	var setBy []uint64
	by := uint64(0)
	err = v.Read(func(tx *state.Tx) error {
		u := tx.User(id)
		info = &domain.UserInfo{User: id, Memberships: []domain.MembershipInfo{}, Traits: map[string]json.RawMessage{}, Pending: []domain.UserChange{}, History: []domain.UserChange{}}
		setBy = showRows(tx, u, info)
		showHistory(tx, u, info)
		by = showConsent(tx, u, info)
		info.Deletions = deletionsOf(tx, id)
		if u.Index.Deleted != 0 {
			info.DeletedUntil = domain.Timestamp(time.Unix(int64(u.Index.Deleted), 0))
		}
		if len(info.Memberships)+len(info.Traits)+len(info.Pending)+len(info.History)+len(info.Deletions) == 0 && info.Consent == nil {
			return domain.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if by > 0 {
		rec := v.record(by)
		if e := rec.Told(); e != nil {
			info.Consent.Event = e.MessageID
		}
	}
	info.EventsMore = len(setBy) > eventsShown
	for i, seq := range setBy[:min(len(setBy), eventsShown)] {
		rec := v.record(seq)
		info.Memberships[i].Event = rec.OrderedBy()
		if e := rec.Told(); e != nil {
			info.Memberships[i].Event, info.Memberships[i].TimeSource = e.MessageID, e.TimeSource.UnreadCode()
		}
	}
	return info, nil
}

// showRows fills the page with the pending changes and the memberships, and returns the number of the record that set
// each membership.
func showRows(tx *state.Tx, u *state.User, info *domain.UserInfo) (setBy []uint64) {
	type computation struct{ key, id string }
	open := make(map[computation]bool) // with something on the way
	list, more := waiting(tx, u, WaitingShown)
	showWaiting(tx, u, list, info)
	for _, ch := range list {
		if ch.Kind == domain.KindReceived || ch.Kind == domain.KindDelete {
			continue // it changed nothing
		}
		open[computation{ch.Computation, ch.ComputedBy}] = true
	}
	info.PendingMore = more
	for _, n := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, n)
		for _, e := range row.Entries {
			f := tx.FieldOf(row.Field(e))
			if f == nil || f.Gone() || e.Newest() == nil {
				continue
			}
			s := e.Newest()
			if f.Class == domain.ClassTrait {
				name := cmp.Or(f.Column, f.Key)
				if _, taken := info.Traits[name]; taken {
					name += " (" + f.Space + ")"
				}
				info.Traits[name] = bytes.Clone(s.Value)
				if why := notTold(tx, u, f); why != "" {
					if info.NotTold == nil {
						info.NotTold = make(map[string]string)
					}
					info.NotTold[name] = why
				}
				continue
			}
			m := domain.MembershipInfo{
				Computation: f.Key, In: s.IsIn(), Since: domain.Timestamp(time.Unix(0, s.Since)),
				Withheld:  e.Withheld,
				Delivered: !more && !e.Withheld && !open[computation{f.Key, f.ID}] && knows(tx, u, f, e, s),
			}
			m.Told = toldOf(tx, u, f, e, &m)
			m.NotTold = notTold(tx, u, f)
			info.Memberships = append(info.Memberships, m)
			setBy = append(setBy, s.Seq)
		}
	}
	return setBy
}

// notTold says why the rollout, or the pause, of a computation keeps it from MoEngage; "" if neither does.
func notTold(tx *state.Tx, u *state.User, f *state.Field) string {
	switch p := state.PolicyOf(tx, f); {
	case p.HoldsOut(u.ID) || outbox.HeldAs(tx, u, f, &p) == domain.ReasonRollout:
		return p.RolloutSentence(u.ID)
	case p.Paused != nil:
		return p.HeldSentence(domain.ReasonPaused, u.ID)
	}
	return ""
}

// knows reports whether MoEngage was told of a membership, or never needed to be: nobody tells it of
// an exit of somebody it never heard of, nor an attribute that the policy does not send.
func knows(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, s *domain.Assertion) bool {
	p := tx.State.Rules.For(f.Key, f.ID)
	for send, column := range map[domain.SendMethods]string{domain.SendCohort: state.CohortColumn, domain.SendList: state.ListColumn} {
		if p.Send.Has(send) && !knowsTarget(tx, u, f, column, s) {
			return false
		}
	}
	return !p.SendsAttributes() || e.LastSent.Is(s.Value) || e.LastSent.Kind == state.NeverSent && !s.IsIn() || e.Kept[state.KeptIdentify] == nil && p.Send.Has(domain.SendAsReceived)
}

// toldOf says what MoEngage was last told of a membership: in, out, nothing, or uncertain where an answer is
// missing. Of what leaves by events alone there is no last value: then it is the membership once nothing
// of it is under way, and "" before.
func toldOf(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, m *domain.MembershipInfo) string {
	t := e.LastSent
	for _, column := range []string{state.CohortColumn, state.ListColumn} {
		if c := targetEntry(tx, u, f, column); t.Kind == state.NeverSent && c != nil {
			t = c.LastSent
		}
	}
	switch {
	case t.Kind == state.UncertainlySent:
		return "uncertain"
	case t.Is([]byte("true")):
		return "in"
	case t.Is([]byte("false")):
		return "out"
	}
	p := tx.State.Rules.For(f.Key, f.ID)
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
func targetEntry(tx *state.Tx, u *state.User, f *state.Field, column string) *state.Entry {
	target := tx.State.Registry.Beside(f, column)
	if target == nil {
		return nil
	}
	return tx.Block(u, uint16(target.Number/state.BlockSize)).Find(uint8(target.Number % state.BlockSize))
}

func knowsTarget(tx *state.Tx, u *state.User, f *state.Field, column string, s *domain.Assertion) bool {
	e := targetEntry(tx, u, f, column)
	if e == nil || e.LastSent.Kind == state.NeverSent {
		return !s.IsIn()
	}
	return e.LastSent.Is(s.Value)
}

func showWaiting(tx *state.Tx, u *state.User, all []*state.Stored, info *domain.UserInfo) {
	for _, ch := range all {
		c := ofUser(ch)
		if ch.State == domain.StateHeld && ch.Reason == outbox.ReasonMassExit {
			c.Sentence = tx.State.Registry.MassExitSentence(ch.Computation, ch.ComputedBy)
		}
		explainWait(tx, u, ch, all, &c)
		info.Pending = append(info.Pending, c)
	}
}

func ofUser(ch *state.Stored) domain.UserChange {
	c := domain.UserChange{ChangeInfo: ch.Describe(), Sentence: ch.Sentence}
	if ch.Answer != (domain.Answer{}) {
		answer := ch.Answer
		answer.At = answer.At.UTC().Round(0)
		c.Answer = &answer
	}
	return c
}

// explainWait says why ch waits, among all that the user has waiting.
func explainWait(tx *state.Tx, u *state.User, ch *state.Stored, all []*state.Stored, c *domain.UserChange) {
	switch {
	case ch.State == domain.StateParked:
		c.Wait = domain.WaitParked
	case ch.State == domain.StateHeld:
		c.Wait = domain.WaitHeld
	case tx.State.UnderWay(ch.Endpoint, u.ID, ch.ID):
		c.Wait = domain.WaitUnderWay
	case ch.Kind != domain.KindDelete && (u.Index.Deleted != 0 || len(u.Index.Endpoint(domain.EndpointDelete).Lanes) > 0):
		c.Wait = domain.WaitDeletion
		if u.Index.Deleted != 0 {
			c.Until = domain.Timestamp(time.Unix(int64(u.Index.Deleted), 0))
		}
	case goesFirst(ch, all) != nil:
		c.Wait, c.Behind = domain.WaitBehind, goesFirst(ch, all).ID.String()
	case ch.Attempts > 0:
		c.Wait = domain.WaitRetry
	case u.Index.Endpoint(ch.Endpoint).Retry > 0:
		c.Wait, c.Until = domain.WaitUser, domain.Timestamp(time.Unix(int64(u.Index.Endpoint(ch.Endpoint).Retry), 0))
	case ch.Kind == domain.KindCohort && (u.Index.AwaitsProfile() || u.Index.Deferred > 0):
		c.Wait, c.Job = domain.WaitAccount, tx.State.Job(ch.Lane)
	default:
		c.Wait, c.Job, c.Bulk = domain.WaitDue, tx.State.Job(ch.Lane), state.IsBulk(ch.Lane) && !u.Index.Urgent()
	}
}

// goesFirst is the earlier event of the same user and endpoint that has failed and waits: it holds up those
// behind it. nil: there is none.
func goesFirst(ch *state.Stored, all []*state.Stored) *state.Stored {
	if ch.Kind != domain.KindEvent {
		return nil
	}
	for _, other := range all {
		if other.ID == ch.ID {
			return nil // all are in the order of their ids
		}
		if other.Kind == domain.KindEvent && other.State == domain.StatePending && other.Endpoint == ch.Endpoint && other.Attempts > 0 {
			return other
		}
	}
	return nil
}

func showHistory(tx *state.Tx, u *state.User, info *domain.UserInfo) {
	for n := u.Index.History; n != 0; {
		ch := tx.Fetch(tx.History, state.NumberKey(n))
		if info.HistoryMore = ch != nil && len(info.History) == state.HistoryShown; ch == nil || info.HistoryMore {
			return
		}
		info.History = append(info.History, ofUser(ch))
		n = ch.Prev
	}
}
