package verify

import (
	"cmp"
	"context"
	"slices"
	"time"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// User reads one user back from MoEngage, and compares each attribute that was sent with the value there. A value counts as
// moving if a change of its computation is on the way, or was sent less than settle ago. An id of which nothing is known is
// store.ErrNotFound. A refusal of MoEngage is a *syncer.ReadError, and nothing is recorded.
func (v *Verifier) User(ctx context.Context, id string, settle time.Duration) (*api.UserVerification, error) {
	known, err := v.store.User(id)
	if err != nil {
		return nil, err
	}
	r := &api.UserVerification{User: id, Values: []api.UserValue{}, Unseen: []string{}, At: time.Now().UTC().Truncate(time.Second)}
	told, err := v.told(id, time.Now().Add(-settle))
	if err != nil || len(told) == 0 {
		r.Unseen = unseen(known, told)
		return r, err
	}
	var names []string
	for _, t := range told {
		names = append(names, t.value.Attribute)
	}
	slices.Sort(names)
	held, err := v.reader.Read(ctx, []string{id}, slices.Compact(names))
	if err != nil {
		return nil, err
	}
	again, err := v.told(id, time.Now().Add(-settle))
	if err != nil {
		return nil, err
	}
	r.Known = held[0].Known
	for _, t := range told {
		if !slices.ContainsFunc(again, t.same) {
			t.value.State = api.ValueMoving // something else was sent since the question
		}
		r.Values = append(r.Values, t.judge(held[0]))
	}
	r.Unseen = unseen(known, told)
	return r, nil
}

// toldValue is one value that MoEngage was sent of a user.
type toldValue struct {
	value api.UserValue
	entry string // of a list; "" for an attribute
}

func (t toldValue) same(o toldValue) bool {
	return t.value.Attribute == o.value.Attribute && t.entry == o.entry && string(t.value.Want) == string(o.value.Want) && t.value.State == o.value.State
}

// told lists what MoEngage was sent of a user, of every computation.
func (v *Verifier) told(id string, settled time.Time) (list []toldValue, err error) {
	seen, err := v.store.Computations()
	if err != nil {
		return nil, err
	}
	for _, c := range seen {
		key := cmp.Or(c.ID, c.Key)
		if sends, err := v.store.SendsAttributes(key); err != nil || !sends {
			continue // an ambiguous key has no id, and nothing of it can be told apart
		}
		users, err := v.store.Told(key, []string{id}, settled)
		if err != nil {
			return nil, err
		}
		for _, a := range users[0].Attributes {
			value := api.UserValue{Computation: c.Key, ID: c.ID, Attribute: domain.AttributeName(a.Name), Entry: a.Entry, Want: a.Value}
			if users[0].Moving {
				value.State = api.ValueMoving
			}
			list = append(list, toldValue{value, a.Entry})
		}
	}
	return list, nil
}

// judge compares the value with the one that MoEngage holds.
func (t toldValue) judge(held syncer.Held) api.UserValue {
	u := t.value
	u.Got = held.Attributes[u.Attribute]
	if t.entry != "" {
		u.Got = found(store.Told{Name: u.Attribute, Entry: t.entry}, held)
	}
	agrees := syncer.Agrees(u.Want, u.Got)
	switch {
	case u.State == api.ValueMoving:
	case agrees:
		u.State = api.ValueAgrees
	case u.Got == nil, t.entry != "" && string(u.Want) == "true":
		u.State = api.ValueMissing
	default:
		u.State = api.ValueDiffers
	}
	if u.Got == nil {
		u.Got = []byte("null")
	}
	return u
}

// unseen lists the computations of a user of which no value can be read back: they leave as events or in a cohort, or nothing
// of them was sent.
func unseen(known *domain.UserInfo, told []toldValue) []string {
	list := []string{}
	for _, m := range known.Memberships {
		if !slices.ContainsFunc(told, func(t toldValue) bool { return t.value.Computation == m.Computation }) {
			list = append(list, m.Computation)
		}
	}
	return list
}
