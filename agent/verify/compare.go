package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// verification is one in progress.
type verification struct {
	*Verifier
	order    api.VerifyOrder
	report   *api.VerifyReport
	progress func(done, total int64)
	total    uint64 // users to read back
}

// all reads back the users that the order names. A sample is held in memory; all users are not.
func (v *verification) all(ctx context.Context) error {
	sample, err := v.draw(ctx)
	if err != nil {
		return err
	}
	if v.order.Sample > 0 {
		v.total = uint64(len(sample))
		for batch := range slices.Chunk(sample, syncer.MaxExport) {
			if err := v.ask(ctx, batch); err != nil {
				return err
			}
		}
		return nil
	}
	v.total = v.report.Told
	var batch []string
	err = v.everybody(ctx, func(user string) error {
		if batch = append(batch, user); len(batch) < syncer.MaxExport {
			return nil
		}
		defer func() { batch = batch[:0] }()
		return v.ask(ctx, batch)
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	return v.ask(ctx, batch)
}

// draw counts all users and takes a sample in which each is as likely as any other, in one pass (Vitter's algorithm R).
func (v *verification) draw(ctx context.Context) (sample []string, err error) {
	n := v.order.Sample
	return sample, v.everybody(ctx, func(user string) error {
		v.report.Told++
		if len(sample) < n {
			sample = append(sample, user)
		} else if i := rand.Uint64N(v.report.Told); i < uint64(n) {
			sample[i] = user
		}
		return nil
	})
}

// everybody calls f with each user about whom something was sent to MoEngage.
func (v *verification) everybody(ctx context.Context, f func(user string) error) error {
	for cursor, more := "", true; more; more = cursor != "" {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, next, err := v.store.ToldUsers(v.order.Key, cursor)
		if err != nil {
			return err
		}
		for _, user := range page {
			if err := f(user); err != nil {
				return err
			}
		}
		cursor = next
	}
	return nil
}

// ask reads a few users back, and compares.
func (v *verification) ask(ctx context.Context, users []string) error {
	settled := time.Now().Add(-v.order.Settle)
	told, err := v.store.Told(v.order.Key, users, settled)
	if err != nil {
		return err
	}
	still, names := v.still(told)
	if len(still) > 0 {
		if err := v.compare(ctx, still, names, settled); err != nil {
			return err
		}
	}
	v.report.Asked += uint64(len(users))
	if v.progress != nil {
		v.progress(int64(v.report.Asked), int64(max(v.total, v.report.Asked)))
	}
	return nil
}

// still leaves out the users who prove nothing, and names the attributes of the others.
func (v *verification) still(told []store.ToldUser) (still []store.ToldUser, names []string) {
	for _, u := range told {
		if u.Moving || len(u.Attributes) == 0 { // without attributes: the user was erased a moment ago
			v.report.Moving++
			continue
		}
		still = append(still, u)
		for _, a := range u.Attributes {
			names = append(names, domain.AttributeName(a.Name))
		}
	}
	slices.Sort(names)
	return still, slices.Compact(names)
}

func (v *verification) compare(ctx context.Context, told []store.ToldUser, names []string, settled time.Time) error {
	users := make([]string, len(told))
	for i := range told {
		users[i] = told[i].User
	}
	held, err := v.reader.Read(ctx, users, names)
	if err != nil {
		return err
	}
	now, err := v.store.Told(v.order.Key, users, settled)
	if err != nil {
		return err
	}
	var missing []store.Told
	for i := range told {
		differing := differences(told[i], held[i])
		switch {
		case len(differing) == 0:
			v.report.Compared++
			v.report.Agree++
		case !slices.EqualFunc(told[i].Attributes, now[i].Attributes, sameTold) || now[i].Moving:
			v.report.Moving++ // something else was sent since the question
		default:
			v.report.Compared++
			v.report.Differ++
			v.note(differing, held[i])
			missing = append(missing, differing...)
		}
	}
	return v.repair(ctx, missing)
}

func sameTold(a, b store.Told) bool {
	return a.Name == b.Name && a.Entry == b.Entry && string(a.Value) == string(b.Value)
}

// differences are the attributes that MoEngage does not hold as they were sent.
func differences(told store.ToldUser, held syncer.Held) (missing []store.Told) {
	for _, a := range told.Attributes {
		if !syncer.Agrees(a.Value, found(a, held)) {
			missing = append(missing, a)
		}
	}
	return missing
}

// found is what MoEngage holds of an attribute, or whether an entry is in its list.
func found(a store.Told, held syncer.Held) json.RawMessage {
	value := held.Attributes[domain.AttributeName(a.Name)]
	if a.Entry == "" {
		return value
	}
	return json.RawMessage(strconv.FormatBool(syncer.Lists(value, a.Entry)))
}

func (v *verification) note(missing []store.Told, held syncer.Held) {
	for _, a := range missing {
		if len(v.report.Differences) == api.MaxDifferences {
			return
		}
		d := api.Difference{User: a.User, Attribute: domain.AttributeName(a.Name), Want: a.Value, Got: found(a, held), Why: "other_value"}
		if a.Entry != "" {
			d.Attribute += "[" + a.Entry + "]"
		}
		switch {
		case !held.Known:
			d.Why = "unknown_user"
		case d.Got == nil, a.Entry != "" && string(a.Value) == "true":
			d.Why = "missing"
		}
		if d.Got == nil {
			d.Got = json.RawMessage("null")
		}
		v.report.Differences = append(v.report.Differences, d)
	}
}

// repair queues the missing values again, if the order says so.
func (v *verification) repair(ctx context.Context, missing []store.Told) error {
	if !v.order.Repair || len(missing) == 0 {
		return nil
	}
	for part := range slices.Chunk(missing, store.MaxRepair) {
		if err := v.store.Repair(ctx, time.Now(), part); err != nil {
			return fmt.Errorf("queue what differs: %w", err)
		}
	}
	for i := range missing {
		if i == 0 || missing[i].User != missing[i-1].User {
			v.report.Repaired++
		}
	}
	return nil
}
