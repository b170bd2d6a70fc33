package syncer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"personasync/store/domain"
	"personasync/sync/internal/ratelimit"
)

// Preview is a request that would be made, with masked secrets.
type Preview struct {
	Method string          `json:"method"`
	URL    string          `json:"url"`
	Header http.Header     `json:"header"`
	Body   json.RawMessage `json:"body"`
	Users  int             `json:"users"`
	Events int             `json:"events"`
}

// Preview returns the requests for a lease, split as the sender splits them: by bytes, and by the share of the
// limits per request. The error lists every change that would be parked instead; the requests are returned with
// it.
func (c Config) Preview(f *domain.Lease) ([]Preview, error) {
	c.Endpoint = f.Endpoint
	c = c.withDefaults()
	share := ratelimit.Amount{Users: ratelimit.Share(c.UsersPerMinute), Events: ratelimit.Share(c.EventsPerMinute), Calls: 1}
	var (
		previews []Preview
		faults   []error
		l        *load
	)
	next := func() {
		if l != nil && len(l.items) > 0 {
			previews = append(previews, c.preview(l))
		}
		l = newLoad(c)
	}
	next()
	for _, d := range f.Users {
		if !l.within(share, d) || !l.add(d) {
			next()
			l.add(d)
		}
		if d.Event != nil && !l.knows(item{user: l.added - 1, event: true}) {
			next() // only its attributes fitted
			l.add(domain.UserChanges{User: d.User, Event: d.Event})
		}
		faults = append(faults, l.takeFaults(d)...)
	}
	next()
	return previews, errors.Join(faults...)
}

// within reports whether the load and a further user are within an amount of users and events.
func (l *load) within(a ratelimit.Amount, d domain.UserChanges) bool {
	return (len(d.Attributes) == 0 || l.users < a.Users) && (d.Event == nil || l.events < a.Events)
}

func (c Config) preview(l *load) Preview {
	return Preview{
		Method: http.MethodPost,
		URL:    c.url(),
		Header: c.header("Basic " + mask),
		Body:   l.request(l.items),
		Users:  l.users,
		Events: l.events,
	}
}

// knows reports whether the attributes, or the event, of a user have become an element or a fault.
func (l *load) knows(one item) bool {
	return slices.ContainsFunc(l.items, func(it item) bool { return it.user == one.user && it.event == one.event }) ||
		slices.ContainsFunc(l.faults, func(f fault) bool { return f.user == one.user && f.event == one.event })
}

// takeFaults returns and removes the faults of the user added last.
func (l *load) takeFaults(d domain.UserChanges) []error {
	var errs []error
	for _, f := range l.faults {
		id := domain.ID{}
		if f.event {
			id = d.Event.ID
		} else if len(d.Attributes) > 0 {
			id = d.Attributes[0].ID
		}
		errs = append(errs, fmt.Errorf("change %s would be parked as %s: %s", id, f.code, f.sentence()))
	}
	l.faults = l.faults[:0]
	return errs
}
