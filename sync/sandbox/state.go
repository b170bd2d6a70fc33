package sandbox

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"personasync/sync/sandbox/internal/rawjson"
)

// Profile is a user as MoEngage knows them.
type Profile struct {
	ID         string                     `json:"id"`
	Attributes map[string]json.RawMessage `json:"attributes"`
	Written    map[string]Write           `json:"written"` // the last write of each attribute
	Events     []Event                    `json:"events"`  // in order of arrival, with repeats
	Cohorts    []string                   `json:"cohorts"` // ids, sorted
}

// Write is the origin of a value. Arrival numbers all applied elements, from 1.
type Write struct {
	Arrival uint64 `json:"arrival"`
	Request uint64 `json:"request"`
}

// Event is one action of a user.
type Event struct {
	Action     string          `json:"action"`
	Attributes json.RawMessage `json:"attributes"` // an object, or null
	Time       time.Time       `json:"time"`       // current_time, or else the time of receipt
	Received   time.Time       `json:"received"`
	Platform   string          `json:"platform,omitempty"`
	RealTime   bool            `json:"real_time_action,omitempty"`
	Write
}

// Cohort is a custom segment filled by cohort sync.
type Cohort struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Members []string `json:"members"` // sorted
}

// profile is the stored form of a user. It is small, because there may be a million.
type profile struct {
	id     string
	attrs  []attribute
	events []Event
}

type attribute struct {
	name  string // shared by all users
	value string // raw JSON
	Write
}

type cohort struct {
	name    string
	members map[string]bool
}

// state is the data of a workspace. It is not safe for concurrent use.
type state struct {
	users      map[string]*profile
	custom     map[string]string // names of custom attributes; maps each to itself to share one copy
	eventNames map[string]string
	cohorts    map[string]*cohort
	arrivals   uint64

	newest      ring[*profile] // in order of creation
	eventOwners ring[*profile] // one entry an event, in order of arrival
}

// newState returns a state that keeps at most that many profiles and events; zero means all.
func newState(profiles, events int) *state {
	return &state{
		users:       map[string]*profile{},
		custom:      map[string]string{},
		eventNames:  map[string]string{},
		cohorts:     map[string]*cohort{},
		newest:      ring[*profile]{limit: profiles},
		eventOwners: ring[*profile]{limit: events},
	}
}

// ensure returns a user's profile and creates it if needed.
func (st *state) ensure(id string) *profile {
	if p := st.users[id]; p != nil {
		return p
	}
	p := &profile{id: id}
	st.users[id] = p
	if old, evicted := st.newest.add(p); evicted {
		st.forget(old)
	}
	return p
}

// forget removes a profile. If it was removed before, and its eviction comes now, a newer profile with the same
// id may exist, which stays.
func (st *state) forget(p *profile) {
	if st.users[p.id] != p {
		return
	}
	delete(st.users, p.id)
	for _, c := range st.cohorts {
		delete(c.members, p.id)
	}
	p.attrs, p.events = nil, nil
}

// addEvent appends an event to a profile. The oldest event overall is also the first of its profile.
func (st *state) addEvent(p *profile, e Event) {
	p.events = append(p.events, e)
	if owner, evicted := st.eventOwners.add(p); evicted && len(owner.events) > 0 {
		owner.events[0] = Event{}
		owner.events = owner.events[1:]
	}
}

// shareName returns the shared copy of a custom attribute's name, or false if the workspace has too many.
func shareName(names map[string]string, name []byte, limit int) (string, bool) {
	if shared, ok := names[string(name)]; ok {
		return shared, true
	}
	if len(names) >= limit {
		return "", false
	}
	shared := string(name)
	names[shared] = shared
	return shared, true
}

// shareValue copies a raw value. It does not allocate for the most common values.
func shareValue(raw []byte) string {
	switch string(raw) {
	case "true":
		return "true"
	case "false":
		return "false"
	}
	return string(raw)
}

func (p *profile) find(name string) *attribute {
	for i := range p.attrs {
		if p.attrs[i].name == name {
			return &p.attrs[i]
		}
	}
	return nil
}

func (p *profile) set(name, value string, w Write) {
	if a := p.find(name); a != nil {
		a.value, a.Write = value, w
		return
	}
	p.attrs = append(p.attrs, attribute{name, value, w})
}

func (p *profile) unset(all []unsetting) {
	p.attrs = slices.DeleteFunc(p.attrs, func(a attribute) bool { return unsets(all, a.name) })
}

// changeArray adds distinct values to an array, or removes them. A value that is not an array counts as empty.
func changeArray(array string, values []byte, add bool) string {
	var kept [][]byte
	for item := range rawjson.Items([]byte(array)) {
		kept = append(kept, item)
	}
	for v := range rawjson.Items(values) {
		same := func(item []byte) bool { return bytes.Equal(item, v) }
		switch {
		case !add:
			kept = slices.DeleteFunc(kept, same)
		case !slices.ContainsFunc(kept, same):
			kept = append(kept, v)
		}
	}
	return "[" + string(bytes.Join(kept, []byte(","))) + "]"
}

// profile returns a copy of a user that the caller may keep.
func (st *state) profile(id string) (Profile, bool) {
	p := st.users[id]
	if p == nil {
		return Profile{}, false
	}
	out := Profile{
		ID:         p.id,
		Attributes: make(map[string]json.RawMessage, len(p.attrs)),
		Written:    make(map[string]Write, len(p.attrs)),
		Events:     p.copyEvents(),
		Cohorts:    []string{},
	}
	for _, a := range p.attrs {
		out.Attributes[a.name] = json.RawMessage(a.value)
		out.Written[a.name] = a.Write
	}
	for cohortID, c := range st.cohorts {
		if c.members[id] {
			out.Cohorts = append(out.Cohorts, cohortID)
		}
	}
	slices.Sort(out.Cohorts)
	return out, true
}

func (p *profile) copyEvents() []Event {
	events := make([]Event, len(p.events))
	for i, e := range p.events {
		e.Attributes = bytes.Clone(e.Attributes)
		events[i] = e
	}
	return events
}

func (st *state) cohort(id string) (Cohort, bool) {
	c := st.cohorts[id]
	if c == nil {
		return Cohort{}, false
	}
	return Cohort{ID: id, Name: c.name, Members: slices.Sorted(maps.Keys(c.members))}, true
}

// forgotten returns how many profiles and events were dropped because memory is bounded.
func (st *state) forgotten() (profiles, events uint64) { return st.newest.lost, st.eventOwners.lost }
