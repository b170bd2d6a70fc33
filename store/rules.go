package store

import (
	"context"
	"encoding/json"
	"reflect"
	"sync"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ruleKeeper remembers the newest rules in the inbox, so that equal ones are not appended again.
type ruleKeeper struct {
	mu       sync.Mutex    // held by SetRules, while it appends, too: rules go into the inbox in the order of the calls
	appended *domain.Rules // the newest rules in the inbox, nil while unknown
	unsure   bool          // an append of rules failed, and may have reached the inbox all the same
}

// SetRules makes r the rules for every event appended after it returns. Equal rules cost nothing.
func (s *Store) SetRules(ctx context.Context, r domain.Rules) error {
	k := &s.rules
	k.mu.Lock()
	defer k.mu.Unlock()
	r.Names = domain.NamesAsSent
	if k.appended != nil && !k.unsure && sameRules(k.appended, &r) {
		return nil
	}
	if k.appended == nil && !k.unsure { // since start: what is applied counts, if that is all there is
		known, err := s.appliedRules()
		if err != nil {
			return err
		}
		if known != nil && sameRules(known, &r) {
			k.appended = &r
			return nil
		}
	}
	frame, err := record.AppendRules(nil, &r)
	if err != nil {
		return err
	}
	if err := s.inbox.AppendOther(ctx, frame); err != nil {
		k.unsure = true
		return datadir.Translate(err)
	}
	k.appended, k.unsure = &r, false
	return nil
}

func sameRules(a, b *domain.Rules) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// appliedRules returns the rules in force, or nil while records wait that may change them.
func (s *Store) appliedRules() (known *domain.Rules, err error) {
	err = s.db.View(func(tx engine.Tx) error {
		meta := tx.Bucket(state.BucketMeta)
		text := meta.Get(state.MetaRules)
		if text == nil || state.Number(meta.Get(state.MetaApplied)) < s.inbox.Last() {
			return nil
		}
		known = new(domain.Rules)
		return json.Unmarshal(text, known)
	})
	return known, err
}
