package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"time"
)

// What bounds a user's page: the entries of history, and the memberships whose event is looked up.
const (
	historyShown = 50
	eventsShown  = 200
	waitingShown = 1000
)

// User returns everything known of one user, or ErrNotFound.
func (v *View) User(id string) (info *UserInfo, err error) {
	var setBy []uint64
	err = v.read(func(b *batch) error {
		u := b.user(id)
		info = &UserInfo{User: id, Memberships: []MembershipInfo{}, Traits: map[string]json.RawMessage{}, Pending: []ChangeInfo{}, History: []ChangeInfo{}}
		setBy = b.showRows(u, info)
		b.showHistory(u, info)
		if len(info.Memberships)+len(info.Traits)+len(info.Pending)+len(info.History) == 0 {
			return ErrNotFound
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, seq := range setBy[:min(len(setBy), eventsShown)] {
		if e := v.received(seq); e != nil {
			info.Memberships[i].Event = e.MessageID
		}
	}
	return info, nil
}

// showRows fills the page with what waits and what is known, and returns the number of the record that set
// each membership.
func (b *batch) showRows(u *user, info *UserInfo) (setBy []uint64) {
	type computation struct{ key, id string }
	open := make(map[computation]bool) // with something on the way
	waiting, more := b.waiting(u, waitingShown)
	for _, ch := range waiting {
		info.Pending = append(info.Pending, ch.Describe())
		open[computation{ch.Computation, ch.ComputedBy}] = true
	}
	info.PendingMore = more
	for _, n := range b.blockNumbers(u) {
		row := b.block(u, n)
		for _, e := range row.entries {
			f := b.fieldOf(row.field(e))
			if f == nil || e.newest() == nil {
				continue
			}
			s := e.newest()
			if f.class == ClassTrait {
				name := cmp.Or(f.column, f.key)
				if _, taken := info.Traits[name]; taken {
					name += " (" + f.space + ")"
				}
				info.Traits[name] = bytes.Clone(s.value)
				continue
			}
			info.Memberships = append(info.Memberships, MembershipInfo{
				Computation: f.key, In: s.in(), Since: timestamp(time.Unix(0, s.since)),
				Delivered: !more && !open[computation{f.key, f.id}] && b.knows(u, f, e, s),
			})
			setBy = append(setBy, s.seq)
		}
	}
	return setBy
}

// knows reports whether MoEngage was told of a membership, or never needed to be: nobody tells it of
// an exit of somebody it never heard of, nor an attribute that the policy does not send.
func (b *batch) knows(u *user, f *field, e *entry, s *statement) bool {
	p := b.st.rules.For(f.key, f.id)
	for send, column := range map[Channels]string{SendCohort: cohortColumn, SendList: listColumn} {
		if p.Send.Has(send) && !b.knowsChannel(u, f, column, s) {
			return false
		}
	}
	return !p.sendsAttributes() || e.told.is(s.value) || e.told.kind == toldNever && !s.in() || e.kept[keptIdentify] == nil && p.Send.Has(SendAsReceived)
}

func (b *batch) knowsChannel(u *user, f *field, column string, s *statement) bool {
	channel := b.st.registry.beside(f, column)
	if channel == nil {
		return !s.in()
	}
	e := b.block(u, uint16(channel.number/blockSize)).find(uint8(channel.number % blockSize))
	if e == nil || e.told.kind == toldNever {
		return !s.in()
	}
	return e.told.is(s.value)
}

func (b *batch) showHistory(u *user, info *UserInfo) {
	for n := u.head.history; n != 0 && len(info.History) < historyShown; {
		ch := b.fetch(b.history, numberKey(n))
		if ch == nil {
			return
		}
		info.History = append(info.History, ch.Describe())
		n = ch.prev
	}
}
