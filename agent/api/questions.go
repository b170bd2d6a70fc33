package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"personasync/agent/api/internal/socket"
	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// Status implements Inspector.
func (c *Client) Status(ctx context.Context) (s condition.Status, err error) {
	return s, c.agent.Get(ctx, "/api/status", nil, &s)
}

// page is a part of a listing as it crosses the socket.
type page[T any] struct {
	Items []T    `json:"items"`
	More  bool   `json:"more"`
	Next  string `json:"next,omitempty"` // cursor of the next page, of a listing that has cursors
}

// Changes implements Inspector.
func (c *Client) Changes(ctx context.Context, f domain.OutboxFilter) ([]domain.ChangeInfo, string, error) {
	var p page[domain.ChangeInfo]
	err := c.agent.Get(ctx, "/api/changes", filterQuery(f), &p)
	return condition.Whole(p.Items), p.Next, err
}

// filterQuery writes a filter as the query that readFilter reads.
func filterQuery(f domain.OutboxFilter) url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"state": f.State.String(), "user": f.User, "computation": f.Computation, "reason": f.Reason, "cursor": f.Cursor,
		"since": domain.Timestamp(f.Since), "until": domain.Timestamp(f.Until),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// Change implements Inspector.
func (c *Client) Change(ctx context.Context, id domain.ID) (*ChangePage, error) {
	return one[ChangePage](ctx, c, "/api/change", url.Values{"id": {id.String()}})
}

// Activity implements Inspector.
func (c *Client) Activity(ctx context.Context, f store.ActivityFilter) (t store.Activity, err error) {
	q := url.Values{"user": {f.User}, "computation": {f.Computation}, "limit": {strconv.Itoa(f.Limit)}, "cursor": {f.Cursor}}
	err = c.agent.Get(ctx, "/api/trail", q, &t)
	t.Items = condition.Whole(t.Items)
	return t, err
}

// Stats implements Inspector.
func (c *Client) Stats(ctx context.Context, f domain.OutboxFilter) (lines []domain.StatLine, err error) {
	err = c.agent.Get(ctx, "/api/stats", filterQuery(f), &lines)
	return condition.Whole(lines), err
}

// Computations implements Inspector.
func (c *Client) Computations(ctx context.Context) (list []domain.ComputationInfo, err error) {
	err = c.agent.Get(ctx, "/api/computations", nil, &list)
	return condition.Whole(list), err
}

// Members implements Inspector.
func (c *Client) Members(ctx context.Context, key, after string, limit int) ([]domain.MemberInfo, bool, error) {
	var p page[domain.MemberInfo]
	err := c.agent.Get(ctx, "/api/members", url.Values{"key": {key}, "after": {after}, "limit": {strconv.Itoa(limit)}}, &p)
	return condition.Whole(p.Items), p.More, err
}

// Journal implements Inspector.
func (c *Client) Journal(ctx context.Context, f domain.JournalFilter) (p domain.JournalPage, err error) {
	q := url.Values{"user": {f.User}, "computation": {f.Computation}, "since": {domain.Timestamp(f.Since)}, "until": {domain.Timestamp(f.Until)},
		"limit": {strconv.Itoa(f.Limit)}, "before": {strconv.FormatUint(f.Before, 10)}}
	err = c.agent.Get(ctx, "/api/journal", q, &p)
	p.Items = condition.Whole(p.Items)
	return p, err
}

// User implements Inspector.
func (c *Client) User(ctx context.Context, id string) (*domain.UserInfo, error) {
	return one[domain.UserInfo](ctx, c, "/api/user", url.Values{"id": {id}})
}

// Deletions implements Inspector.
func (c *Client) Deletions(ctx context.Context, f domain.DeletionFilter) ([]domain.Deletion, int, error) {
	var l deletionList
	q := url.Values{"user": {f.User}, "state": {f.State}, "skip": {strconv.Itoa(f.Skip)}, "limit": {strconv.Itoa(f.Limit)}}
	err := c.agent.Get(ctx, "/api/deletions", q, &l)
	return condition.Whole(l.Items), l.Total, err
}

// deletionList is the answer to Deletions.
type deletionList struct {
	Items []domain.Deletion `json:"items"`
	Total int               `json:"total"`
}

func (i questions) deletions(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := domain.DeletionFilter{User: q.Get("user"), State: q.Get("state")}
	var err error
	if f.Limit, err = readLimit(q); err != nil {
		return nil, err
	}
	if f.Skip, err = strconv.Atoi(cmp.Or(q.Get("skip"), "0")); err != nil || f.Skip < 0 {
		return nil, fmt.Errorf("%w: skip is no count", socket.ErrUsage)
	}
	items, total, err := i.Inspector.Deletions(r.Context(), f)
	return deletionList{items, total}, err
}

// DryRun implements Inspector.
func (c *Client) DryRun(ctx context.Context, computation string, limit int) (*DryRunResult, error) {
	return one[DryRunResult](ctx, c, "/api/dry-run", url.Values{"computation": {computation}, "limit": {strconv.Itoa(limit)}})
}

// Schedule implements Inspector.
func (c *Client) Schedule(ctx context.Context, next int) (jobs []JobInfo, err error) {
	err = c.agent.Get(ctx, "/api/schedule", url.Values{"next": {strconv.Itoa(next)}}, &jobs)
	return condition.Whole(jobs), err
}

// questions answers over HTTP what its Inspector knows.
type questions struct{ Inspector }

func (i questions) changes(r *http.Request) (any, error) {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	items, next, err := i.Inspector.Changes(r.Context(), f)
	return page[domain.ChangeInfo]{Items: items, More: next != "", Next: next}, err
}

func (i questions) stats(r *http.Request) (any, error) {
	q := r.URL.Query()
	if len(q) == 0 {
		return i.Inspector.Stats(r.Context(), domain.OutboxFilter{})
	}
	f, err := readFilter(q)
	if err != nil {
		return nil, err
	}
	f.Limit, f.Cursor = 0, ""
	return i.Inspector.Stats(r.Context(), f)
}

func readFilter(q url.Values) (f domain.OutboxFilter, err error) {
	f.User, f.Computation, f.Reason = q.Get("user"), q.Get("computation"), q.Get("reason")
	if f.Limit, err = readLimit(q); err != nil {
		return f, err
	}
	if err = readTimes(q, &f.Since, &f.Until); err != nil {
		return f, err
	}
	if name := q.Get("state"); name != "" {
		state, ok := domain.ParseState(name)
		if !ok {
			return f, fmt.Errorf("%w: %q is no state", socket.ErrUsage, name)
		}
		f.State = state
	}
	f.Cursor = q.Get("cursor")
	return f, nil
}

// readTimes reads the times between which something is asked for.
func readTimes(q url.Values, since, until *time.Time) (err error) {
	for name, at := range map[string]*time.Time{"since": since, "until": until} {
		if text := q.Get(name); text != "" {
			if *at, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return fmt.Errorf("%w: %s %q is no time", socket.ErrUsage, name, text)
			}
		}
	}
	return nil
}

// PageLimit is how many items one answer holds at most.
const PageLimit = MaxDryRun

func readLimit(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return store.DefaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: limit %q is no count", socket.ErrUsage, text)
	}
	return min(n, PageLimit), nil
}

func (i questions) change(r *http.Request) (any, error) {
	id, err := domain.ParseID(r.URL.Query().Get("id"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", socket.ErrUsage, err)
	}
	return i.Inspector.Change(r.Context(), id)
}

func (i questions) members(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := readLimit(q)
	if err != nil {
		return nil, err
	}
	items, more, err := i.Inspector.Members(r.Context(), q.Get("key"), q.Get("after"), limit)
	return page[domain.MemberInfo]{Items: items, More: more}, err
}

func (i questions) journal(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := domain.JournalFilter{User: q.Get("user"), Computation: q.Get("computation")}
	var err error
	if f.Limit, err = readLimit(q); err != nil {
		return nil, err
	}
	if err = readTimes(q, &f.Since, &f.Until); err != nil {
		return nil, err
	}
	if text := q.Get("before"); text != "" {
		if f.Before, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("%w: before %q is no number", socket.ErrUsage, text)
		}
	}
	if f.User == "" && f.Computation == "" {
		return nil, fmt.Errorf("%w: name a user or a computation", socket.ErrUsage)
	}
	return i.Inspector.Journal(r.Context(), f)
}

func (i questions) user(r *http.Request) (any, error) {
	return i.Inspector.User(r.Context(), r.URL.Query().Get("id"))
}

func (i questions) dryRun(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := readLimit(q)
	if err != nil {
		return nil, err
	}
	return i.Inspector.DryRun(r.Context(), q.Get("computation"), limit)
}

func (i questions) activity(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := readLimit(q)
	if err != nil {
		return nil, err
	}
	return i.Inspector.Activity(r.Context(), store.ActivityFilter{User: q.Get("user"), Computation: q.Get("computation"), Limit: limit, Cursor: q.Get("cursor")})
}
