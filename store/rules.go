package store

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"sync"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/writer"
)

// ruleKeeper remembers the newest rules in the inbox, so that equal ones are not appended again. It adds the pauses of
// computations to them, which operators order and no configuration has.
type ruleKeeper struct {
	db     engine.State
	inbox  engine.Log
	writer *writer.Writer
	log    *slog.Logger // of a store that several agents share; nil in files

	mu       sync.Mutex    // held by SetRules, while it appends, too: rules go into the inbox in the order of the calls
	appended *domain.Rules // the newest rules in the inbox, nil while unknown
	unsure   bool          // an append of rules failed, and may have reached the inbox all the same
}

// set is Store.SetRules.
func (k *ruleKeeper) set(ctx context.Context, r domain.Rules) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.db.View(func(tx engine.Tx) (err error) {
		r.Paused, err = query.ReadPauses(tx)
		return err
	}); err != nil {
		return err
	}
	return k.put(ctx, r)
}

// put appends r, unless it is the newest already. The caller holds mu.
func (k *ruleKeeper) put(ctx context.Context, r domain.Rules) error {
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
		if known != nil && k.log != nil {
			k.log.Warn("the rules of this agent are other ones than those that held before, and hold from now on: give all agents of a store the same configuration",
				"computations", domain.ChangedRules(*known, r))
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

// compare logs that r, the rules of a door, are other ones than those that hold. Where that cannot be read nothing is said: the
// next writer compares again.
func (k *ruleKeeper) compare(r domain.Rules) {
	var known *domain.Rules
	err := k.db.View(func(tx engine.Tx) (err error) {
		if r.Paused, err = query.ReadPauses(tx); err == nil {
			known, err = readRules(tx)
		}
		return err
	})
	r.Names = domain.NamesAsSent
	if err == nil && known != nil && !sameRules(known, &r) {
		k.log.Warn("the rules of this agent are other ones than those of the agent that writes, which hold until this one takes over: give all agents of a store the same configuration",
			"computations", domain.ChangedRules(*known, r))
	}
}

// pause keeps what change makes of the pauses of computations, and then has the newest rules pause just these. An end of
// the process between the two is made up for by set, which every start calls.
func (k *ruleKeeper) pause(ctx context.Context, change func([]domain.Pause) []domain.Pause) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []domain.Pause
	err := k.writer.Do(ctx, func(tx *state.Tx) error {
		runs := tx.Bucket(state.BucketRuns)
		var was []domain.Pause
		if text := runs.Get([]byte(query.PausesKey)); text != nil {
			if err := json.Unmarshal(text, &was); err != nil {
				return err
			}
		}
		if list = change(was); len(list) == 0 {
			list = nil
			tx.Remove(runs, []byte(query.PausesKey))
			return tx.Err
		}
		text, err := json.Marshal(list)
		if err == nil {
			tx.Put(runs, []byte(query.PausesKey), text)
		}
		return errors.Join(err, tx.Err)
	}, nil)
	if err != nil || k.appended == nil { // set has not been called yet
		return err
	}
	r := *k.appended
	r.Paused = list
	return k.put(ctx, r)
}

func sameRules(a, b *domain.Rules) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// applied returns the rules in force, or nil while records are not applied yet that may change them.
func (k *ruleKeeper) applied() (known *domain.Rules, err error) {
	err = k.db.View(func(tx engine.Tx) (err error) {
		if state.Number(tx.Bucket(state.BucketMeta).Get(state.MetaApplied)) >= k.inbox.Last() {
			known, err = readRules(tx)
		}
		return err
	})
	return known, err
}

// readRules reads the rules that were applied last; nil: none were.
func readRules(tx engine.Tx) (known *domain.Rules, err error) {
	text := tx.Bucket(state.BucketMeta).Get(state.MetaRules)
	if text == nil {
		return nil, nil
	}
	known = &domain.Rules{Lists: state.ReadLists(tx)}
	return known, json.Unmarshal(text, known)
}
