package orders

import (
	"context"
	"errors"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ErrNoMembers says that a computation is a trait, which has no members.
var ErrNoMembers = domain.ErrNoMembers

// Report says what an order on a computation comes to. A dry run of an import counts what the import would.
// All verbs share its fields, because the contract has one flat object.
type Report struct {
	Key       string `json:"key"`
	ID        string `json:"id"`
	DryRun    bool   `json:"dry_run"`
	Listed    uint64 `json:"listed"`           // users of the list
	Repeated  uint64 `json:"repeated"`         // lines that named a user again
	Skipped   uint64 `json:"skipped"`          // lines without an id, or with one that MoEngage ignores
	Column    string `json:"column,omitempty"` // that the ids were read from
	Enters    uint64 `json:"enters"`
	Exits     uint64 `json:"exits"`
	Unchanged uint64 `json:"unchanged"`
	Newer     uint64 `json:"newer"`   // left alone: something newer than the list is known
	Again     uint64 `json:"again"`   // users of whom MoEngage is told again
	Decided   uint64 `json:"decided"` // held exits that were released or discarded
	Created   uint64 `json:"created"` // changes that came of it, or of events meanwhile
	Held      uint64 `json:"held"`    // of the computation, afterwards
	Removed   uint64 `json:"removed"` // names of a computation that is forgotten: its own, its columns, cohort and list
	Exited    uint64 `json:"exited"`  // exits of a computation that is forgotten: their times are, too
	Already   bool   `json:"already"` // of an adoption: it came about before, and nothing of it is left to do
	Tripped   bool   `json:"tripped"` // of a release or a discard: the guard was holding exits until then

	// HistoryFrom is the time of the oldest sent change that is still known, of a reconcile by the time of sending.
	HistoryFrom string `json:"history_from,omitempty"`
}

// membershipJob is an order on a computation that is being carried out. It gathers users, appends them to the inbox some
// at a time, and waits until they are applied before more follow, so that no event waits for more than two batches of
// them. It belongs to one goroutine.
type membershipJob struct {
	*Runner
	order        *record.Order // what each record of it begins with
	key          string
	class        domain.Class
	fields       []uint32 // the computation's own, and those of its columns
	targetFields []uint32 // its own, and its targets
	members      uint64
	salt         []byte // of the tombstones; nil when there are none
	created      uint64 // changes before it began
	dry          bool
	done         Report

	users  []record.JobTarget // gathered, and not appended yet
	most   int                // users of one record
	ahead  uint64             // number of the last record of the batch before this one
	onDisk extent
}

// usersAtOnce is how many users are appended at once. At most twice as many wait to be applied.
const usersAtOnce = 4096

// newJob finds the computation that key names and prepares an order on it. create has an unknown key become one.
func (rn *Runner) newJob(ctx context.Context, key string, o *record.Order, create, dry bool) (*membershipJob, error) {
	o.By = operatorOf(ctx)
	j := &membershipJob{Runner: rn, order: o, dry: dry}
	err := j.load(ctx, key)
	if errors.Is(err, domain.ErrNotFound) && create {
		if dry { // it does not exist, and a dry run does not make it
			j.key, j.order.Field = key, state.FieldNone
			return j, nil
		}
		frame := record.AppendOrder(nil, &record.Order{Verb: record.OrderName, Received: time.Now(), Key: key})
		if err := rn.append(ctx, frame); err != nil {
			return nil, rn.cutShort(orderAbsent, err)
		}
		j.onDisk = orderInPart
		err = j.load(ctx, key)
	}
	return j, err
}

// load reads the computation once everything acknowledged is applied: an event may be the first that names it.
func (j *membershipJob) load(ctx context.Context, key string) error {
	if err := j.cutShort(j.onDisk, j.Runner.applied(ctx)); err != nil {
		return err
	}
	return j.Reader.Read(func(tx *state.Tx) error {
		f, err := tx.State.Registry.One(key)
		if err != nil {
			return err
		}
		j.order.Field, j.key, j.class, j.members = f.Number, f.Key, f.Class, f.Members
		j.most = outbox.PerRecord(tx.State.Registry, record.OrderTargets)
		j.done.Held = state.HeldOf(tx, f)
		if j.salt = nil; tx.State.Ledger.Tombstones > 0 {
			j.salt = tx.State.Salt
		}
		j.done.ID, j.created = f.ID, tx.State.Ledger.Changes.Created
		for _, x := range tx.State.Registry.Fields {
			if x == f || !x.Gone() && x.Space == f.Space && x.Key == f.Key && x.ID == f.ID && x.SQLColumn() != "" {
				j.fields = append(j.fields, x.Number)
			}
		}
		for _, x := range tx.State.Registry.TargetFields(f) {
			j.targetFields = append(j.targetFields, x.Number)
		}
		return nil
	})
}

// append is Runner.append, and keeps account of what of the order is on disk.
func (j *membershipJob) append(ctx context.Context, frames ...[]byte) error {
	err := j.Runner.append(ctx, frames...)
	if j.onDisk = max(j.onDisk, doubt(err)); err == nil {
		j.onDisk = orderInPart
	}
	return j.cutShort(j.onDisk, err)
}

// applied waits for what the order has appended.
func (j *membershipJob) applied(ctx context.Context) error {
	return j.cutShort(j.onDisk, j.Runner.applied(ctx))
}

// add puts a user into the order: a member from now on, or none. A dry run adds nobody.
func (j *membershipJob) add(ctx context.Context, key []byte, in bool) error {
	if j.dry {
		return ctx.Err()
	}
	user, _, _ := state.UserOf(key)
	if j.users = append(j.users, record.JobTarget{User: user, In: in}); len(j.users) < usersAtOnce {
		return nil
	}
	return j.flush(ctx)
}

// flush appends the users that were added, and waits for those of the flush before.
func (j *membershipJob) flush(ctx context.Context) error {
	if len(j.users) == 0 {
		return ctx.Err()
	}
	j.order.Received = time.Now()
	var frames [][]byte
	for users := range slices.Chunk(j.users, j.most) {
		part := *j.order
		part.Targets = users
		frames = append(frames, record.AppendOrder(nil, &part))
	}
	if err := j.append(ctx, frames...); err != nil {
		return err
	}
	j.users = j.users[:0]
	before := j.ahead
	j.ahead = j.Inbox.Last()
	return j.cutShort(j.onDisk, j.Writer.AwaitApplied(ctx, before))
}

// report ends the order.
func (j *membershipJob) report(ctx context.Context, err error) (Report, error) {
	if err == nil && !j.dry {
		if err = j.flush(ctx); err == nil {
			j.onDisk = max(j.onDisk, orderWhole)
			err = j.applied(ctx)
		}
	}
	if errors.Is(err, context.Canceled) {
		err = j.cutShort(j.onDisk, context.Cause(ctx))
	}
	if err != nil {
		return Report{}, err
	}
	j.done.Key, j.done.DryRun = j.key, j.dry
	if j.order.Field == state.FieldNone {
		return j.done, nil
	}
	return j.done, j.Reader.Read(func(tx *state.Tx) error {
		j.done.Created, j.done.Held = tx.State.Ledger.Changes.Created-j.created, state.HeldOf(tx, tx.FieldOf(j.order.Field))
		return nil
	})
}
