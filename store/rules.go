package store

import (
	"context"
	"encoding/json"
	"reflect"
	"sync"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
)

// ruleKeeper remembers the newest rules in the inbox, so that equal ones are not appended again.
type ruleKeeper struct {
	db    *bolt.State
	inbox *wal.Log

	mu       sync.Mutex    // held by SetRules, while it appends, too: rules go into the inbox in the order of the calls
	appended *domain.Rules // the newest rules in the inbox, nil while unknown
	unsure   bool          // an append of rules failed, and may have reached the inbox all the same
}

// set is Store.SetRules.
func (k *ruleKeeper) set(ctx context.Context, r domain.Rules) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r.Names = domain.NamesAsSent
	if k.appended != nil && !k.unsure && sameRules(k.appended, &r) {
		return nil
	}
	if k.appended == nil && !k.unsure { // since the start: the applied rules count, if no record is behind them
		known, err := k.applied()
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
	if err := k.inbox.AppendOther(ctx, frame); err != nil {
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

// applied returns the rules in force, or nil while records are not applied yet that may change them.
func (k *ruleKeeper) applied() (known *domain.Rules, err error) {
	err = k.db.View(func(tx engine.Tx) error {
		meta := tx.Bucket(state.BucketMeta)
		text := meta.Get(state.MetaRules)
		if text == nil || state.Number(meta.Get(state.MetaApplied)) < k.inbox.Last() {
			return nil
		}
		known = &domain.Rules{Lists: state.ReadLists(tx)}
		return json.Unmarshal(text, known)
	})
	return known, err
}
