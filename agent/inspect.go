package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"

	syncer "personasync/sync"
)

// Local answers from the store itself: the running agent from its live one, a command from the
// files of a stopped agent.
type Local struct {
	// open returns a view and how to let go of it. The files are opened anew for every part of a page,
	// so that neither a long search nor a slow pipe ever keeps the agent from starting.
	open    func() (v *store.View, done func() error, err error)
	process func() condition.Process
	rules   func() domain.Rules
	limits  func() config.MoEngage
	keep    func() config.Retention
	syncer  func(domain.Endpoint) syncer.Config
	plan    func(*store.View) ([]planned, error)
	pace    *pacer         // nil: reading disturbs nobody
	shared  *sharedAnswers // nil: there is but one asker
	version string
	where   string
}

var _ api.Inspector = (*Local)(nil)

// Where implements Inspector.
func (l *Local) Where() string { return l.where }

// look runs read over a fresh view.
func (l *Local) look(ctx context.Context, read func(*store.View) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	v, done, err := l.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return read(v)
}

// inParts reads until done says so, and gives way to events between two parts.
func (l *Local) inParts(ctx context.Context, read func(*store.View) error, done func() bool) error {
	for patience := pacePatience; !done(); {
		if l.pace == nil {
			if err := l.part(ctx, read); err != nil {
				return err
			}
			continue
		}
		var err error
		if patience, err = l.pace.begin(ctx, patience); err != nil {
			return err
		}
		began := time.Now()
		err = l.part(ctx, read)
		l.pace.end(time.Since(began))
		if err != nil {
			return err
		}
	}
	return nil
}

// part is look, one at a time: a filter that hardly anything passes reads all there is, and however many ask for
// that, they have one processor between them.
func (l *Local) part(ctx context.Context, read func(*store.View) error) error {
	if l.shared != nil {
		select {
		case l.shared.part <- struct{}{}:
			defer func() { <-l.shared.part }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return l.look(ctx, read)
}

// Status implements Inspector.
func (l *Local) Status(ctx context.Context) (condition.Status, error) {
	if l.shared == nil {
		return l.readStatus(ctx)
	}
	return l.shared.status.get(ctx, func() (condition.Status, error) { return l.readStatus(ctx) })
}

func (l *Local) readStatus(ctx context.Context) (s condition.Status, err error) {
	now := time.Now()
	err = l.look(ctx, func(v *store.View) error {
		counts, err := v.Counts()
		if err != nil {
			return err
		}
		sent, err := v.Sent(now.Add(-time.Minute))
		if err != nil {
			return err
		}
		list, err := v.Computations()
		if err != nil {
			return err
		}
		verified, err := condition.Standing(v, list)
		if err != nil {
			return err
		}
		process := l.process()
		s = condition.NewStatus(counts, sent, process, l.limits(), l.version, now)
		s.Guard, s.Staleness = condition.Guarded(list), condition.StalenessOf(list, now)
		s.Verify = condition.SumVerifications(verified)
		jobs, err := l.plan(v)
		if err != nil {
			return err
		}
		s.FailedJobs = failedJobs(jobs)
		if s.Expiring, err = v.Expiring(now, l.keep().Parked.Duration); err != nil {
			return err
		}
		if s.Salvages, err = v.Salvages(); err != nil {
			return err
		}
		s.Salvages = condition.Whole(s.Salvages)
		f := &condition.Facts{Now: now, Status: &s, Heard: counts.Heard, Oldest: counts.OldestOfJobs, Process: process, Computations: list}
		s.Conditions = f.Judge()
		return nil
	})
	return s, err
}

// Changes implements Inspector.
func (l *Local) Changes(ctx context.Context, f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error) {
	listing, err := store.NewListing(f)
	if err == nil {
		err = l.inParts(ctx, func(v *store.View) error { return v.ReadListing(listing) }, listing.Done)
	}
	if err != nil {
		return lines(nil), "", err
	}
	page, next = listing.Page()
	return lines(page), next, nil
}

// Change implements Inspector.
func (l *Local) Change(ctx context.Context, id domain.ID) (page *api.ChangePage, err error) {
	err = l.look(ctx, func(v *store.View) error {
		c, raw, err := v.Change(id)
		if err != nil {
			return err
		}
		page = newChangePage(c, raw, l.syncer(endpointOf(c.Kind)))
		return nil
	})
	return page, err
}

// Stats implements Inspector.
func (l *Local) Stats(ctx context.Context) ([]domain.StatLine, error) {
	if l.shared == nil {
		return l.readStats(ctx)
	}
	return l.shared.stats.get(ctx, func() ([]domain.StatLine, error) { return l.readStats(ctx) })
}

// readStats makes one answer by many looks: with a long backlog it takes a while, and an agent that starts
// meanwhile finds its files free between two of them.
func (l *Local) readStats(ctx context.Context) (stats []domain.StatLine, err error) {
	cursor, more := "", true
	err = l.inParts(ctx, func(v *store.View) error {
		page, next, err := v.StatsPage(cursor)
		stats, cursor, more = store.MergeStats(stats, page), next, next != ""
		return err
	}, func() bool { return !more })
	return condition.Whole(stats), err
}

// Computations implements Inspector.
func (l *Local) Computations(ctx context.Context) (list []domain.ComputationInfo, err error) {
	err = l.look(ctx, func(v *store.View) error {
		list, err = v.Computations()
		return err
	})
	return condition.Whole(list), err
}

// Members implements Inspector.
func (l *Local) Members(ctx context.Context, key, after string, limit int) (page []domain.MemberInfo, more bool, err error) {
	roll := store.NewMemberListing(key, after, limit)
	if err := l.inParts(ctx, func(v *store.View) error { return v.ReadMembers(roll) }, roll.Done); err != nil {
		return condition.Whole(page), false, err
	}
	page, more = roll.Page()
	return condition.Whole(page), more, nil
}

// User implements Inspector.
func (l *Local) User(ctx context.Context, id string) (u *domain.UserInfo, err error) {
	err = l.look(ctx, func(v *store.View) error {
		if u, err = v.User(id); err != nil {
			return err
		}
		plan, err := l.plan(v)
		for i := range u.Pending {
			u.Pending[i].Waits = waitText(&u.Pending[i], plan)
			u.Pending[i].Argument = "" // said by Waits; it does not cross the socket
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	u.Memberships, u.Pending, u.History = condition.Whole(u.Memberships), condition.Whole(u.Pending), condition.Whole(u.History)
	if u.Traits == nil {
		u.Traits = map[string]json.RawMessage{}
	}
	return u, nil
}

// Activity implements Inspector. It gives way to events like a listing: whoever follows asks again and again.
func (l *Local) Activity(ctx context.Context, f store.ActivityFilter) (t store.Activity, err error) {
	read := false
	err = l.inParts(ctx, func(v *store.View) error {
		t, err = v.Activity(f)
		read = true
		return err
	}, func() bool { return read })
	t.Items = condition.Whole(t.Items)
	return t, err
}

// DryRun implements Inspector.
func (l *Local) DryRun(ctx context.Context, computation string, limit int) (*api.DryRunResult, error) {
	r := &api.DryRunResult{Requests: []syncer.Preview{}, WouldPark: []string{}}
	err := l.look(ctx, func(v *store.View) error {
		job, err := jobOf(v, l.rules(), computation)
		if err != nil {
			return err
		}
		for _, road := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
			flight, err := v.Preview(flushOptions(road, job, min(limit, api.MaxDryRun), time.Now()))
			if err != nil {
				return err
			}
			if flight == nil {
				continue
			}
			requests, err := l.syncer(road).Preview(flight)
			if err != nil {
				r.WouldPark = append(r.WouldPark, strings.Split(err.Error(), "\n")...)
			}
			r.Requests = append(r.Requests, requests...)
		}
		return nil
	})
	return r, err
}

// flushOptions lets everything of one job, or of all when job is nil, leave now.
func flushOptions(road domain.Endpoint, job *string, limit int, now time.Time) domain.TakeOptions {
	return domain.TakeOptions{
		Endpoint: road, Now: now, Force: true, MaxUsers: limit, MaxEvents: limit,
		Due: func(j string) time.Time {
			if job != nil && j != *job {
				return time.Time{}
			}
			return now
		},
		Fit: func(domain.Delivery) bool { return true },
	}
}

// jobOf names the job that carries a computation's changes: nil stands for all jobs. A computation
// neither seen nor configured is store.ErrNotFound; a key of several is ambiguous unless one job
// carries them all.
func jobOf(v *store.View, rules domain.Rules, computation string) (*string, error) {
	if computation == "" {
		return nil, nil
	}
	seen, err := v.Computations()
	if err != nil {
		return nil, err
	}
	return pickJob(seen, rules, computation)
}

func pickJob(seen []domain.ComputationInfo, rules domain.Rules, computation string) (*string, error) {
	var jobs, ids []string
	for _, c := range seen {
		if c.Key == computation || c.ID == computation {
			jobs, ids = append(jobs, rules.For(c.Key, c.ID).Job), append(ids, c.ID)
		}
	}
	for _, s := range rules.Sections {
		if len(jobs) == 0 && (s.Key == computation || s.ID == computation) {
			jobs = append(jobs, s.Policy.Job)
		}
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("computation %q: %w", computation, store.ErrNotFound)
	}
	for _, j := range jobs[1:] {
		if j != jobs[0] {
			return nil, &store.AmbiguousError{Key: computation, IDs: ids}
		}
	}
	return &jobs[0], nil
}

func newChangePage(c *domain.Change, raw []byte, s syncer.Config) *api.ChangePage {
	p := &api.ChangePage{
		ChangeInfo:    lines([]domain.ChangeInfo{c.Describe()})[0],
		ComputationID: c.ComputedBy, Class: c.Class.String(), Name: c.Name, MessageID: c.MessageID,
		Sentence: c.Sentence, Closed: condition.Timestamp(c.Closed), Event: printable(raw),
		OrderedBy: c.OrderedBy, TimeSource: c.TimeSource.String(), TimeSentence: c.TimeSource.Sentence(), LeftOut: c.LeftOut,
	}
	if c.Answer != (domain.Answer{}) {
		answer := c.Answer
		answer.At = answer.At.UTC().Round(0)
		p.Answer = &answer
	}
	if !c.Successor.IsZero() {
		p.SupersededBy = c.Successor.String()
	}
	p.Request, p.NoRequest = requestOf(c, s)
	return p
}

// endpointOf is the road that changes of a kind leave on.
func endpointOf(k domain.Kind) domain.Endpoint {
	if k == domain.KindCohort {
		return domain.EndpointCohort
	}
	return domain.EndpointTransition
}

// requestOf builds the request that would carry c alone, or says why there is none.
func requestOf(c *domain.Change, s syncer.Config) (*syncer.Preview, string) {
	d := domain.Delivery{User: c.User}
	switch c.Kind {
	case domain.KindAttribute, domain.KindCohort, domain.KindList:
		d.Attributes = []domain.Change{*c}
	case domain.KindEvent:
		d.Event = c
	case domain.KindReceived:
		return nil, "an event that could not be used has nothing to send"
	default:
		return nil, "requests of this kind cannot be shown"
	}
	previews, err := s.Preview(&domain.Lease{Endpoint: endpointOf(c.Kind), Deliveries: []domain.Delivery{d}})
	switch {
	case err != nil:
		return nil, err.Error()
	case len(previews) == 0:
		return nil, "it fits no request"
	}
	return &previews[0], ""
}

// maxDepth is how deeply nested an event may be to be shown as JSON: indenting costs its square.
const maxDepth = 256

// printable returns raw as JSON that every reader can take: compact, or as a string when it is no
// JSON or nested beyond reason.
func printable(raw []byte) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	var b bytes.Buffer
	if depth(raw) <= maxDepth && json.Compact(&b, raw) == nil {
		return b.Bytes()
	}
	quoted, err := json.Marshal(string(raw))
	if err != nil {
		return json.RawMessage("null") // a string always has a JSON form
	}
	return quoted
}

// depth is how deep the brackets of raw go, those within strings left out.
func depth(raw []byte) (deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// lines makes a missing value the null that it is in JSON, so that both ways answer the same.
func lines(list []domain.ChangeInfo) []domain.ChangeInfo {
	for i := range list {
		if list[i].Value == nil {
			list[i].Value = json.RawMessage("null")
		}
	}
	return condition.Whole(list)
}
