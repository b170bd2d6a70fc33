package page

import (
	"fmt"
	"net/http"
	"strings"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
)

// explained adds to each cause what its reason means, and what to type. computations are all that are known.
func (s *Source) explained(list []Cause, computations []domain.ComputationInfo) []Cause {
	for i := range list {
		c := &list[i]
		name := nameOf(c, computations)
		if e, ok := s.Explain(c.Reason); ok {
			c.Means, c.Do = e.Means, s.typed(filledIn(e.Do, c.Reason, name))
		}
		c.Commands = s.commands(c.commands(name))
	}
	return list
}

// nameOf is what the computation of a cause is called on a command line: its key, or "" where several share that.
func nameOf(c *Cause, computations []domain.ComputationInfo) string {
	for i := range computations {
		if computations[i].Key != c.Computation {
			continue
		}
		for _, other := range computations[i+1:] {
			if other.Key == c.Computation {
				return ""
			}
		}
	}
	return c.Computation
}

// filledIn writes a reason and a computation where an explanation has CODE and KEY.
func filledIn(text, reason, name string) string {
	text = strings.ReplaceAll(text, " CODE`", " "+domain.ShellWord(reason)+"`")
	if name != "" {
		text = strings.ReplaceAll(text, " KEY`", " "+store.Arguments(name)+"`")
	}
	return text
}

// massExit is the reason of exits that the guard holds.
const massExit = "mass_exit"

// commands are what to type about a cause: how to see all of it, and how to end it.
func (c *Cause) commands(name string) []string {
	filter := " --reason " + domain.ShellWord(c.Reason)
	if c.Computation != "" {
		filter += " --computation " + domain.ShellWord(c.Computation)
	}
	list := "personasync outbox list --state " + c.State
	held := c.State == domain.StateHeld.String()
	switch {
	case c.Reason == uncounted || c.Reason == noReason:
		return []string{list}
	case held && c.Reason == massExit && name != "":
		key := store.Arguments(name)
		return []string{list + filter, "personasync audience release " + key, "personasync audience discard " + key}
	case held && c.Reason == massExit:
		return []string{list + filter, "personasync audience list"}
	case held:
		return []string{list + filter, "personasync status"}
	}
	return []string{list + filter, "personasync outbox retry" + filter}
}

// Item is a held or parked event or change as the page shows it.
type Item struct {
	ID          string `json:"id"`
	User        string `json:"user"` // masked unless users are shown
	Computation string `json:"computation"`
	Kind        string `json:"kind"`
	Transition  string `json:"transition"`
	EventTime   string `json:"event_time"`
	ReceivedAt  string `json:"received_at"`
	Attempts    int    `json:"attempts"`
	Command     string `json:"command"` // that shows all of it
}

// itemRows is how many items a page asks for at once.
const itemRows = 20

// items answers with a part of the items of a cause, oldest first. Neither values nor MoEngage's words are among them,
// because both may name a user.
func (s *Source) items(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := domain.OutboxFilter{Reason: q.Get("reason"), Computation: q.Get("computation"), Cursor: q.Get("cursor"), Limit: itemRows}
	var ok bool
	if f.State, ok = domain.ParseState(q.Get("state")); !ok || f.State != domain.StateHeld && f.State != domain.StateParked {
		return nil, fmt.Errorf("%w: state is held or parked", api.ErrUsage)
	}
	if f.Reason == "" {
		return nil, fmt.Errorf("%w: reason is missing", api.ErrUsage)
	}
	changes, next, err := s.Inspect.Changes(r.Context(), f)
	if err != nil {
		return nil, err
	}
	items := []Item{}
	for i := range changes {
		c := &changes[i]
		if c.Computation != f.Computation {
			continue // no computation is a cause of its own, and no filter
		}
		user := c.User
		if !s.ShowUsers() && user != "" {
			user = maskID(user)
		}
		items = append(items, Item{c.ID, user, c.Computation, c.Kind, c.Transition, c.EventTime, c.ReceivedAt, c.Attempts, s.Command + " outbox show " + c.ID})
	}
	return struct {
		Items []Item `json:"items"`
		Next  string `json:"next"` // cursor; "" at the end
	}{items, next}, nil
}
