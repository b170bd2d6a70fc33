package sandbox

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"personasync/sync/sandbox/internal/rawjson"
)

// workspace is the stand-in for a workspace of MoEngage: its limits, its data, and what its endpoints do with a
// request that passed all checks. The sandbox's mutex protects it.
type workspace struct {
	options Options
	state   *state
	limits  limits
	journal *journal

	dying []deletion // oldest first
	queue []*call    // accepted but not yet applied, with Options.Delay; oldest first
}

// Retained records without Options.KeepAll.
const (
	keptProfiles = 1_000_000
	keptEvents   = 1_000_000
)

func newWorkspace(o Options, j *journal) *workspace {
	w := &workspace{options: o, state: newState(keptProfiles, keptEvents), limits: newLimits(o), journal: j}
	if o.KeepAll {
		w.state = newState(0, 0)
	}
	return w
}

func newLimits(o Options) limits {
	return limits{
		users:     meter{limit: cmp.Or(o.UsersPerMinute, 60_000)},
		events:    meter{limit: cmp.Or(o.EventsPerMinute, 60_000)},
		cohorts:   meter{limit: cmp.Or(o.CohortsPerMinute, 300)},
		exports:   meter{limit: cmp.Or(o.ExportsPerMinute, 1_000)},
		deletions: meter{limit: 5_000},
		mergers:   meter{limit: 1_000},
		devices:   meter{limit: 10_000},
	}
}

// services has what each endpoint does with a request. Later problems are silent, as with MoEngage.
var services = map[*endpoint]func(*workspace, *call) ([]byte, *refusal){
	transition:     (*workspace).acceptData,
	trackUser:      (*workspace).acceptData,
	trackEvent:     (*workspace).acceptData,
	partner:        (*workspace).acceptData,
	cohortSync:     (*workspace).acceptCohort,
	export:         (*workspace).exportUsers,
	authentication: (*workspace).testConnection,
	trackDevice:    (*workspace).acceptDevice,
	deletionOfUser: (*workspace).acceptDeletion,
	merger:         (*workspace).acceptMerger,
}

// acceptData serves the endpoints for customers and events. It can still refuse bad elements and exceeded limits.
func (w *workspace) acceptData(c *call) ([]byte, *refusal) {
	if r := w.refuseElements(c); r != nil {
		return nil, r
	}
	if r := w.limits.chargeData(c.At, c.Users, c.Events); r != nil {
		return nil, r
	}
	w.queue = append(w.queue, c)
	w.catchUp(c.At)
	return acceptedBody(c.ID), nil
}

// catchUp applies calls accepted at least Options.Delay ago, in order of arrival, and deletes users whose time has
// come. Everything that reads the state calls it first.
func (w *workspace) catchUp(now time.Time) {
	done := 0
	for ; done < len(w.queue) && now.Sub(w.queue[done].At) >= w.options.Delay; done++ {
		c := w.queue[done]
		a := applier{state: w.state, objects: w.options.Objects, at: c.At, request: c.Number,
			report: func(rule Rule, user, detail string) { w.journal.violate(&c.Request, rule, user, detail) }}
		for i := range c.elements {
			a.apply(&c.elements[i])
		}
	}
	w.queue = slices.Delete(w.queue, 0, done)
	w.deleteDying(now)
}

// refuseElements returns the refusal of the first bad element in strict validation. In lenient validation ("all
// bulk requests return a 200") bad elements are dropped and recorded, and do not count against limits.
func (w *workspace) refuseElements(c *call) *refusal {
	for _, e := range c.elements {
		if e.refusal != nil && w.options.Strict {
			return e.refusal
		}
	}
	return nil
}

// acceptCohort changes a cohort and silently skips unknown users.
func (w *workspace) acceptCohort(c *call) ([]byte, *refusal) {
	if r := w.limits.cohorts.charge(c.At, 1, "cohorts"); r != nil {
		return nil, r
	}
	co := w.state.cohorts[c.cohort.id]
	if co == nil {
		co = &cohort{members: map[string]bool{}}
		w.state.cohorts[c.cohort.id] = co
	}
	co.name = c.cohort.name
	for _, e := range c.elements {
		switch {
		case w.state.users[e.user] == nil:
			w.journal.violate(&c.Request, UnknownUID, e.user, c.cohort.id)
		case c.cohort.add:
			co.members[e.user] = true
		default:
			delete(co.members, e.user)
		}
	}
	return acceptedBody(c.ID), nil
}

// exportUsers answers Get User, MoEngage's only proof of storage.
func (w *workspace) exportUsers(c *call) ([]byte, *refusal) {
	if r := w.limits.exports.charge(c.At, len(c.elements), "customers"); r != nil {
		return nil, r
	}

	type identifier struct {
		Type string `json:"identifier_type"`
		ID   string `json:"identifier"`
	}
	type user struct {
		Attributes map[string]json.RawMessage `json:"user_attributes"`
	}
	var data struct {
		NotFound []identifier `json:"users_not_found"`
		Users    []user       `json:"users"`
	}
	data.NotFound, data.Users = []identifier{}, []user{}
	for _, e := range c.elements {
		p := w.state.users[e.user]
		if p == nil {
			data.NotFound = append(data.NotFound, identifier{"customer_id", e.user})
			continue
		}
		data.Users = append(data.Users, user{p.export(c.fields)})
	}
	body, _ := json.Marshal(map[string]any{"status": "success", "type": "export_users", "data": data}) // raw parts are valid JSON
	return body, nil
}

// export returns the requested fields, or all if none are named. It always includes the id.
func (p *profile) export(fields []string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{"customer_id": rawjson.Quote(p.id)}
	if len(fields) == 0 {
		for _, a := range p.attrs {
			out[a.name] = json.RawMessage(a.value)
		}
	}
	for _, name := range fields {
		if a := p.find(name); a != nil {
			out[name] = json.RawMessage(a.value)
		}
	}
	return out
}

func (w *workspace) testConnection(c *call) ([]byte, *refusal) {
	switch {
	case w.options.WorkspaceID != "" && c.test.app != w.options.WorkspaceID:
		return nil, &wrongApp
	case w.options.APIKey != "" && c.test.secret != w.options.APIKey:
		return nil, &wrongSecret
	}
	return []byte(`{"status":"success","app_name":"Sandbox"}`), nil
}

// deletionBuffer is how long a deleted user "will still be active" and can be updated (OpenAPI file, Delete
// User).
const deletionBuffer = 24 * time.Hour

// deletion is a user to delete at a given time.
type deletion struct {
	user string
	at   time.Time
}

// acceptDeletion schedules the deletion of a user. A second request within the buffer changes nothing; MoEngage
// does not document that case.
func (w *workspace) acceptDeletion(c *call) ([]byte, *refusal) {
	if r := w.limits.deletions.charge(c.At, 1, "customers"); r != nil {
		return nil, r
	}
	user := c.elements[0].user
	if w.state.users[user] == nil {
		return nil, &refusal{400, "Not Found", "User doesn't exists with customer id " + user, ""}
	}
	if !slices.ContainsFunc(w.dying, func(d deletion) bool { return d.user == user }) {
		w.dying = append(w.dying, deletion{user, c.At.Add(deletionBuffer)})
	}
	return acceptedBody(c.ID), nil
}

// deleteDying deletes the users whose buffer has ended.
func (w *workspace) deleteDying(now time.Time) {
	over := 0
	for ; over < len(w.dying) && !now.Before(w.dying[over].at); over++ {
		if p := w.state.users[w.dying[over].user]; p != nil {
			w.state.forget(p)
		}
	}
	w.dying = slices.Delete(w.dying, 0, over)
}

// acceptMerger merges each pair and skips pairs with an unknown user, as documented. Where both users have a
// value the retained user's wins, which is not documented.
func (w *workspace) acceptMerger(c *call) ([]byte, *refusal) {
	if r := w.limits.mergers.charge(c.At, len(c.elements)/2, "customers"); r != nil {
		return nil, r
	}
	for pair := range slices.Chunk(c.elements, 2) {
		merged, retained := w.state.users[pair[0].user], w.state.users[pair[1].user]
		if merged == nil || retained == nil || merged == retained {
			w.journal.violate(&c.Request, UnknownUID, pair[0].user, "merge")
			continue
		}
		for _, a := range merged.attrs {
			if retained.find(a.name) == nil {
				retained.attrs = append(retained.attrs, a)
			}
		}
		for _, e := range merged.events {
			w.state.addEvent(retained, e)
		}
		w.state.forget(merged)
	}
	return acceptedBody(c.ID), nil
}

// acceptDevice only counts a device: it never creates a user.
func (w *workspace) acceptDevice(c *call) ([]byte, *refusal) {
	if c.elements[0].refusal != nil && w.options.Strict {
		return nil, c.elements[0].refusal
	}
	if r := w.limits.devices.charge(c.At, 1, "devices"); r != nil {
		return nil, r
	}
	return acceptedBody(c.ID), nil
}

// addLimits sets the x-ratelimit headers from the meter closest to its limit. MoEngage documents them as
// requests but limits users and events, so they count users or events here.
func (w *workspace) addLimits(c *call, h http.Header) {
	m, need := w.meterOf(c)
	if m == nil || m.limit <= 0 {
		return
	}
	left := m.wait(c.At, need)
	if left == 0 {
		left = m.wait(c.At, m.limit)
	}
	h.Set(limitHeader, strconv.Itoa(m.limit))
	h.Set(remainingHeader, strconv.Itoa(m.left()))
	h.Set(resetHeader, resetValue(c.At, left, w.options.EpochReset))
}

// meterOf returns the meter closest to its limit, and how much of it the request needs.
func (w *workspace) meterOf(c *call) (m *meter, need int) {
	switch c.endpoint {
	case cohortSync:
		return &w.limits.cohorts, 1
	case export:
		return &w.limits.exports, len(c.elements)
	case deletionOfUser:
		return &w.limits.deletions, 1
	case merger:
		return &w.limits.mergers, len(c.elements) / 2
	case trackDevice:
		return &w.limits.devices, 1
	case authentication:
		return nil, 0
	}
	return w.limits.closestOfData(c.Users, c.Events)
}

// addStats adds the counts of the workspace.
func (w *workspace) addStats(out *Stats) {
	out.MaxUsersInWindow = w.limits.users.max
	out.MaxEventsInWindow = w.limits.events.max
	out.MaxCohortsInWindow = w.limits.cohorts.max
	out.Profiles = len(w.state.users)
	out.Cohorts = len(w.state.cohorts)
	out.AttributeNames = len(w.state.custom)
	out.EventNames = len(w.state.eventNames)
	out.ForgottenProfiles, out.ForgottenEvents = w.state.forgotten()
}
