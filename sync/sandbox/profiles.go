package sandbox

import (
	"slices"
	"time"

	"personasync/sync/sandbox/internal/rawjson"
)

// Endpoints for whole profiles: deletion, merger and devices.

// deletionBuffer is how long a deleted user "will still be active" and can be updated (OpenAPI file, Delete
// User).
const deletionBuffer = 24 * time.Hour

const maxPairs = 50 // of a merge request

// deletion is a user to delete at a given time.
type deletion struct {
	user string
	at   time.Time
}

func readDeletion(c *call) *refusal {
	kind, id := rawjson.Text(rawjson.Member(c.body, "identity_type")), rawjson.Member(c.body, "identity_value")
	switch {
	case kind == "":
		return missing("identity_type")
	case kind != "customer_id": // moengage_id is documented too, but the sandbox assigns none
		return &refusal{400, "AttributeError", "identity_type should be customer_id", "identity_type"}
	case id == nil:
		return missing("identity_value")
	case rawjson.Text(id) == "":
		return expected("string", "identity_value")
	}
	c.elements = []element{{kind: uid, user: rawjson.Text(id)}}
	return nil
}

// acceptDeletion schedules the deletion of a user. A second request within the buffer changes nothing; MoEngage
// does not document that case.
func (s *Sandbox) acceptDeletion(c *call) ([]byte, *refusal) {
	if r := spend(&s.deletions, c, 1, "customers"); r != nil {
		return nil, r
	}
	user := c.elements[0].user
	if s.state.users[user] == nil {
		return nil, &refusal{400, "Not Found", "User doesn't exists with customer id " + user, ""}
	}
	if !slices.ContainsFunc(s.dying, func(d deletion) bool { return d.user == user }) {
		s.dying = append(s.dying, deletion{user, c.At.Add(deletionBuffer)})
	}
	return acceptedBody(c.ID), nil
}

// bury deletes the users whose buffer has ended.
func (s *Sandbox) bury(now time.Time) {
	over := 0
	for ; over < len(s.dying) && !now.Before(s.dying[over].at); over++ {
		if p := s.state.users[s.dying[over].user]; p != nil {
			s.state.forget(p)
		}
	}
	s.dying = slices.Delete(s.dying, 0, over)
}

// readMerger parses pairs of users: the merged one, then the retained one.
func readMerger(c *call) *refusal {
	for pair := range rawjson.Items(rawjson.Member(c.body, "merge_data")) {
		for _, name := range []string{"merged_user", "retained_user"} {
			id := rawjson.Member(pair, name)
			switch {
			case id == nil:
				return missing(name)
			case rawjson.Text(id) == "":
				return expected("string", name)
			}
			c.elements = append(c.elements, element{kind: uid, user: rawjson.Text(id)})
		}
	}
	switch n := len(c.elements) / 2; {
	case n == 0:
		return missing("merge_data")
	case n > maxPairs:
		return &refusal{400, "LimitBreached", "max limit allowed is 50", "merge_data"}
	}
	return nil
}

// acceptMerger merges each pair and skips pairs with an unknown user, as documented. Where both users have a
// value the retained user's wins, which is not documented.
func (s *Sandbox) acceptMerger(c *call) ([]byte, *refusal) {
	if r := spend(&s.mergers, c, len(c.elements)/2, "customers"); r != nil {
		return nil, r
	}
	for pair := range slices.Chunk(c.elements, 2) {
		merged, retained := s.state.users[pair[0].user], s.state.users[pair[1].user]
		if merged == nil || retained == nil || merged == retained {
			s.violate(c, UnknownUID, pair[0].user, "merge")
			continue
		}
		for _, a := range merged.attrs {
			if retained.find(a.name) == nil {
				retained.attrs = append(retained.attrs, a)
			}
		}
		for _, e := range merged.events {
			s.state.addEvent(retained, e)
		}
		s.state.forget(merged)
	}
	return acceptedBody(c.ID), nil
}

// acceptDevice only counts a device: it never creates a user.
func (s *Sandbox) acceptDevice(c *call) ([]byte, *refusal) {
	if c.elements[0].refusal != nil && s.options.Strict {
		return nil, c.elements[0].refusal
	}
	if r := spend(&s.devices, c, 1, "devices"); r != nil {
		return nil, r
	}
	return acceptedBody(c.ID), nil
}

// spend charges n to a minute's limit, or refuses the call.
func spend(m *meter, c *call, n int, what string) *refusal {
	if m.wait(c.At, n) > 0 {
		r := overLimit(what)
		return &r
	}
	m.spend(c.At, n)
	return nil
}
