package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Source is where a Local takes its answers from.
type Source struct {
	// Open returns a view and a function that releases it. Files are opened again for every part of a page, so that
	// neither a long search nor a slow pipe keeps an agent from starting.
	Open func() (v *store.View, done func() error, err error)

	Process  func() condition.Process
	Config   func() *config.Config
	Endpoint func(domain.Endpoint) syncer.Config // how its requests are made
	Plan     func(*store.View) ([]Planned, error)

	// Received is the number of the last received event. Reading gives way to events. nil: a command reads the files of a
	// stopped agent, alone.
	Received func() uint64

	Version string
	Where   string // a sentence
}

// Local answers from the store itself: the running agent from its live one, a command from the files of a stopped
// agent. It may be used concurrently if its Source has Received.
type Local struct {
	from   Source
	pace   *pacer         // nil: reading disturbs nobody
	shared *sharedAnswers // nil: there is one caller
}

// New returns a Local that answers from a source.
func New(from Source) *Local {
	l := &Local{from: from}
	if from.Received != nil {
		l.pace, l.shared = &pacer{received: from.Received}, newSharedAnswers()
	}
	return l
}

var _ api.Inspector = (*Local)(nil)

// Where implements Inspector.
func (l *Local) Where() string { return l.from.Where }

// look runs read on a fresh view.
func (l *Local) look(ctx context.Context, read func(*store.View) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	v, done, err := l.from.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return store.ExplainDamage(read(v))
}

// inParts reads until done, and gives way to events between two parts.
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

// part is look, one at a time. A filter that hardly anything passes reads everything; however many callers ask for that,
// they use one processor together.
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
		page = newChangePage(c, raw, l.from.Endpoint(endpointOf(c.Kind)))
		return nil
	})
	return page, err
}

// Stats implements Inspector.
func (l *Local) Stats(ctx context.Context, f domain.OutboxFilter) ([]domain.StatLine, error) {
	if l.shared == nil || f != (domain.OutboxFilter{}) {
		return l.readStats(ctx, f)
	}
	return l.shared.stats.get(ctx, func() ([]domain.StatLine, error) { return l.readStats(ctx, f) })
}

// readStats makes one answer of many parts. With a long backlog it takes a while, and an agent that starts meanwhile finds
// its files free between two parts.
func (l *Local) readStats(ctx context.Context, f domain.OutboxFilter) (stats []domain.StatLine, err error) {
	cursor, more := "", true
	err = l.inParts(ctx, func(v *store.View) error {
		page, next, err := v.StatsPage(f, cursor)
		stats, cursor, more = store.MergeStats(stats, page), next, next != ""
		return err
	}, func() bool { return !more })
	return condition.Whole(stats), err
}

// Computations implements Inspector.
func (l *Local) Computations(ctx context.Context) (list []domain.ComputationInfo, err error) {
	err = l.look(ctx, func(v *store.View) error {
		list, err = v.Watermarked()
		return err
	})
	return condition.Whole(list), err
}

// Members implements Inspector.
func (l *Local) Members(ctx context.Context, key, after string, limit int) (page []domain.MemberInfo, more bool, err error) {
	members := store.NewMemberListing(key, after, limit)
	if err := l.inParts(ctx, func(v *store.View) error { return v.ReadMembers(members) }, members.Done); err != nil {
		return condition.Whole(page), false, err
	}
	page, more = members.Page()
	return condition.Whole(page), more, nil
}

// Journal implements Inspector.
func (l *Local) Journal(ctx context.Context, f domain.JournalFilter) (page domain.JournalPage, err error) {
	journal := store.NewJournalListing(f)
	err = l.inParts(ctx, func(v *store.View) error {
		if err := v.ReadJournal(journal); err != nil || !journal.Done() || f.User == "" {
			return err
		}
		return l.explainOpen(v, journal.Page().Items)
	}, journal.Done)
	return journal.Page(), err
}

// explainOpen says of each change that has not ended why that is.
func (l *Local) explainOpen(v *store.View, items []domain.JournalInfo) error {
	waits, err := l.waits(v)
	if err != nil {
		return err
	}
	for i := range items {
		for j := range items[i].Told {
			if t := &items[i].Told[j]; t.Open != nil {
				t.Waits = waits(t.Open)
			}
		}
	}
	return nil
}

// waits returns a function that says why a change has not ended, and until when.
func (l *Local) waits(v *store.View) (func(*domain.UserChange) string, error) {
	plan, err := l.from.Plan(v)
	if err != nil {
		return nil, err
	}
	was, err := elsewhere(v, l.from.Config())
	if err != nil {
		return nil, err
	}
	pause, err := v.Pause()
	moengage := l.from.Process().MoEngage
	return func(c *domain.UserChange) string {
		if c.State == domain.StatePending.String() && c.Wait != domain.WaitUnderWay && pause.Holds(time.Now()) {
			return "sending is paused (" + pause.Why + "): it leaves after `personasync outbox resume`, or when the pause ends"
		}
		if c.State == domain.StatePending.String() && was != "" {
			return toldElsewhere(was)
		}
		if text := waitText(c, plan); text != "" {
			return text
		}
		if moengage.Stopped && c.Kind != domain.KindDelete.String() {
			code, _, _ := strings.Cut(moengage.LastError, ":")
			return "MoEngage refuses everything (" + cmp.Or(code, "no answer") + "), and one request a minute tries whether it is over: `personasync status` says what to do"
		}
		return turnText(c)
	}, err
}

// Deletions implements Inspector.
func (l *Local) Deletions(ctx context.Context, f domain.DeletionFilter) (list []domain.Deletion, total int, err error) {
	err = l.look(ctx, func(v *store.View) error {
		list, err = v.Deletions(f.User)
		return err
	})
	if f.State != "" {
		list = slices.DeleteFunc(list, func(d domain.Deletion) bool { return d.State != f.State })
	}
	total = len(list)
	list = list[min(f.Skip, total):]
	return condition.Whole(list[:min(len(list), f.Limit)]), total, err
}

// User implements Inspector.
func (l *Local) User(ctx context.Context, id string) (u *domain.UserInfo, err error) {
	err = l.look(ctx, func(v *store.View) error {
		if u, err = v.User(id); err != nil {
			return err
		}
		waits, err := l.waits(v)
		if err != nil {
			return err
		}
		for i := range u.Pending {
			u.Pending[i].Waits = waits(&u.Pending[i])
		}
		return nil
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

// Activity implements Inspector. It gives way to events, because a caller that follows asks again and again.
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
