package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"

	syncer "personasync/sync"
)

// MoEngage's 200 means queued; that it holds what it was told is seen by reading it back and not
// otherwise. A verification takes users whom MoEngage was told of, at random, reads back their
// attributes of one computation, and says how many agree.

// verifier verifies, one computation at a time. Its methods may be called concurrently.
type verifier struct {
	store  *store.Store
	reader *syncer.Reader
	log    *slog.Logger
	busy   sync.Mutex
}

// verify does one verification. progress may be nil; it is called with the users done and those to do.
func (v *verifier) verify(ctx context.Context, o api.VerifyOrder, progress func(done, total int64)) (*api.VerifyReport, error) {
	if !v.busy.TryLock() {
		return nil, fmt.Errorf("%w: another verification is under way, and the limit on reading back is the workspace's: wait for it", store.ErrUnderway)
	}
	defer v.busy.Unlock()
	r, err := v.begin(o)
	if err != nil {
		return nil, err
	}
	run := &verification{verifier: v, order: o, report: r, progress: progress}
	err = run.all(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err() // cut off: what the last one found stands
	}
	if err != nil && r.Asked > 0 {
		err = fmt.Errorf("after %d of %d users: %w", r.Asked, run.total, err)
	}
	r.At = time.Now().UTC().Truncate(time.Second)
	if err != nil {
		r.Code, r.Error = failureCode(err), err.Error()
		return nil, errors.Join(err, v.store.SetVerification(ctx, r.Verification))
	}
	r.Agreement = agreement(&r.Verification)
	return r, v.store.SetVerification(ctx, r.Verification)
}

// failureCode is the code under which a failed verification is recorded: that of MoEngage's answer, if it
// was one.
func failureCode(err error) string {
	if refused := (*syncer.ReadError)(nil); errors.As(err, &refused) {
		return refused.Code
	}
	return scheduler.CodeFailed
}

// begin finds the computation.
func (v *verifier) begin(o api.VerifyOrder) (*api.VerifyReport, error) {
	sends, err := v.store.SendsAttributes(o.Key)
	if err != nil {
		return nil, err
	}
	if !sends {
		return nil, fmt.Errorf("%w: %s leaves neither as an attribute nor in a list, and MoEngage tells of attributes alone", api.ErrUnreadable, o.Key)
	}
	seen, err := v.store.Computations()
	if err != nil {
		return nil, err
	}
	r := &api.VerifyReport{Differences: []api.Difference{}}
	for _, c := range seen {
		if c.Key == o.Key || c.ID == o.Key {
			r.Key, r.ID = c.Key, c.ID
		}
	}
	return r, nil
}

// verification is one in progress.
type verification struct {
	*verifier
	order    api.VerifyOrder
	report   *api.VerifyReport
	progress func(done, total int64)
	total    uint64 // users to read back
}

// all reads back whom the order names: a sample is held in memory, everybody is not.
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

// draw counts everybody, and takes a sample in which each is as likely as any other (Vitter's
// algorithm R), in one pass.
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

// everybody calls f with each user whom MoEngage was told of.
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

// still leaves out who proves nothing, and names the attributes of the others.
func (v *verification) still(told []store.ToldUser) (still []store.ToldUser, names []string) {
	for _, u := range told {
		if u.Moving || len(u.Attributes) == 0 { // without attributes it was forgotten a moment ago
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
			v.report.Moving++ // what was asked about is not what should be there any more
		default:
			v.report.Compared++
			v.report.Differ++
			v.note(differing, held[i])
			missing = append(missing, differing...)
		}
	}
	return v.mend(ctx, missing)
}

func sameTold(a, b store.Told) bool {
	return a.Name == b.Name && a.Entry == b.Entry && string(a.Value) == string(b.Value)
}

// differences are the attributes that MoEngage does not hold as it was told.
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

// mend queues again what is missing.
func (v *verification) mend(ctx context.Context, missing []store.Told) error {
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

// normal95 is the quantile of the normal distribution that leaves 2.5 % on either side.
const normal95 = 1.959963984540054

func agreement(v *store.Verification) *api.Agreement {
	if v.Compared == 0 {
		return nil
	}
	n := float64(v.Compared)
	share := float64(v.Agree) / n
	a := &api.Agreement{Share: share, Low: share, High: share, Level: 0.95}
	if v.Compared == v.Told {
		a.Level = 1
		return a
	}
	const z = normal95
	middle := (share + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(share*(1-share)/n+z*z/(4*n*n))
	a.Low, a.High = max(middle-half, 0), min(middle+half, 1)
	return a
}

// verifyJob is what the schedule of [verify] is called where jobs are listed.
const verifyJob = "[verify]"

// everything verifies a sample of each computation that leaves as attributes. One that cannot be
// verified keeps no other from it.
func (v *verifier) everything(sample func() int) func(context.Context, time.Time) error {
	return func(ctx context.Context, _ time.Time) error {
		seen, err := v.store.Computations()
		if err != nil {
			return err
		}
		failed, first := 0, error(nil)
		for _, c := range seen {
			key := c.ID
			if key == "" {
				key = c.Key
			}
			r, err := v.verify(ctx, api.VerifyOrder{Key: key, Sample: sample(), Settle: api.DefaultSettle}, nil)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, api.ErrUnreadable):
			case err != nil:
				if failed++; first == nil {
					first = fmt.Errorf("%s: %w", c.Key, err)
				}
			default:
				v.tell(r)
			}
		}
		if first == nil {
			return nil
		}
		return &scheduler.Failure{Code: failureCode(first), Err: fmt.Errorf("%s could not be verified, the first of them %w", condition.Quantity(uint64(failed), "computation"), first)}
	}
}

func (v *verifier) tell(r *api.VerifyReport) {
	attrs := []any{"computation", r.Key, "id", r.ID, "compared", r.Compared, "agree", r.Agree, "differ", r.Differ, "moving", r.Moving}
	switch {
	case r.Differ > 0:
		v.log.Warn("MoEngage does not hold all it was told: `personasync audience verify KEY` lists what differs, --repair sends it again", attrs...)
	case r.Compared == 0:
		v.log.Info("a verification compared no users, so it proves nothing", attrs...)
	default:
		v.log.Info("a computation was verified", attrs...)
	}
}

// job is the nightly verification, if one is configured.
func (v *verifier) job(spec string, zone *time.Location, sample func() int) ([]scheduler.Job, error) {
	if spec == "" {
		return nil, nil
	}
	schedule, err := scheduler.Parse(spec, zone)
	if err != nil {
		return nil, fmt.Errorf("schedule of %s: %w", verifyJob, err)
	}
	return []scheduler.Job{{Name: verifyJob, Schedule: schedule, Do: v.everything(sample)}}, nil
}
