package domain

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"
)

// SendMethods is the set of ways in which a computation's transitions leave. Numbers are on disk.
type SendMethods uint8

const (
	SendNone       SendMethods = 0
	SendAsReceived SendMethods = 1 << 0 // identify becomes the attribute, track becomes the event
	SendAttribute  SendMethods = 1 << 1
	SendEvent      SendMethods = 1 << 2
	SendCohort     SendMethods = 1 << 3
	SendList       SendMethods = 1 << 4
	SendBoth                   = SendAttribute | SendEvent
)

// Has reports whether c contains every method of o.
func (c SendMethods) Has(o SendMethods) bool { return c&o == o }

// IdentityPolicy says what becomes of an event without a userId.
type IdentityPolicy string

const (
	IdentityPark   IdentityPolicy = "park"
	IdentityUse    IdentityPolicy = "use" // take the anonymousId, or the e-mail address, as the customer id
	IdentityIgnore IdentityPolicy = "ignore"
)

// NullPolicy says what leaves when a trait became null.
type NullPolicy string

const (
	NullSkip  NullPolicy = "skip"
	NullUnset NullPolicy = "unset"
	NullEmpty NullPolicy = "empty"
)

// Policy is how one computation's events are treated. The zero value sends nothing. Its fields are the keys of a section of the
// configuration, without their defaults.
type Policy struct {
	Send          SendMethods    `json:"send"`
	Anonymous     IdentityPolicy `json:"anonymous"`
	EmailOnly     IdentityPolicy `json:"email_only"`
	UnknownExit   bool           `json:"unknown_exit"` // send the exit of a user never seen entering
	OnNull        NullPolicy     `json:"on_null"`
	ForwardTraits []string       `json:"forward_traits,omitempty"` // ["*"] for all
	ListAttribute string         `json:"list_attribute"`
	MaxEventAge   time.Duration  `json:"max_event_age"` // 0: off
	EnterEvent    string         `json:"enter_event"`
	ExitEvent     string         `json:"exit_event"`
	TraitEvent    string         `json:"trait_event"`
	Collapse      bool           `json:"collapse"`
	Attribute     string         `json:"attribute,omitempty"`   // "": the computation's key
	CohortName    string         `json:"cohort_name,omitempty"` // "": the computation's key
	Job           string         `json:"job,omitempty"`         // "": the default schedule; else the name of its own
	Unguarded     bool           `json:"unguarded,omitempty"`   // its exits are never held as a mass
	Consent       []string       `json:"consent,omitempty"`     // categories that a user must have given, sorted; none: anybody is sent
	Rollout       *Rollout       `json:"rollout,omitempty"`     // nil: anybody is sent

	// For sets these of a policy with a Rollout, and of a paused computation: the pause, the computation that the policy
	// was found for, and the list of Rollout.List.
	Paused *Pause   `json:"-"` // nil: it is not paused
	Of     string   `json:"-"` // its key
	OfID   string   `json:"-"`
	Listed UserList `json:"-"`
}

// Section is the policy of one computation, named by key or by id.
type Section struct {
	Key    string `json:"key,omitempty"`
	ID     string `json:"id,omitempty"`
	Policy Policy `json:"policy"`
}

// Rules is the part of the configuration that decides what an event changes. It reaches the state as
// a record of the inbox, so that applying the same records always gives the same state; it holds for
// the events after it.
type Rules struct {
	Defaults   Policy        `json:"defaults"`
	Sections   []Section     `json:"sections,omitempty"`
	OnDelete   string        `json:"on_delete"` // forget | ignore
	Deletes    Deletes       `json:"deletes,omitzero"`
	Guard      Guard         `json:"guard"`
	MessageIDs time.Duration `json:"message_ids"` // how long a pass-through event's messageId is remembered

	// Lists are the sets of users that policies name. They are kept apart from the rest, which is written often.
	Lists map[string]UserList `json:"lists,omitempty"`

	// Paused are the pauses of computations. They are no part of the configuration: SetRules adds them.
	Paused []Pause `json:"paused,omitempty"`

	// Journal is whether enters and exits are written to the journal.
	Journal bool `json:"journal,omitempty"`

	// Names is the way in which names are compared. SetRules sets it, so that a version that compares them in another
	// way decides again about changes that are held for a name.
	Names int `json:"names,omitempty"`
}

// NamesAsSent means that names are compared as they are sent. The value 0 compared them as they were configured.
const NamesAsSent = 1

// For returns the policy of a computation: the section naming its id, else the one naming its key,
// else the defaults.
func (r *Rules) For(key, id string) Policy {
	p := r.find(key, id)
	paused := r.pauseOf(key, id)
	if p.Rollout == nil && paused == nil {
		return *p
	}
	own := *p
	own.Paused, own.Of, own.OfID = paused, key, id
	if p.Rollout != nil {
		own.Listed = r.Lists[p.Rollout.List]
	}
	return own
}

func (r *Rules) find(key, id string) *Policy {
	byKey := -1
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.ID != "" && s.ID == id {
			return &s.Policy
		}
		if byKey < 0 && s.ID == "" && s.Key == key {
			byKey = i
		}
	}
	if byKey >= 0 {
		return &r.Sections[byKey].Policy
	}
	return &r.Defaults
}

// Guard is when an audience's exits are held. The zero value never does.
type Guard struct {
	Share  float64       `json:"share"` // hold when more than this share of the most members leaves; 0: off …
	Count  uint64        `json:"count"` // … and at least this many …
	Window time.Duration `json:"window"`
}

// Deletes is whether a user whom Segment deletes is deleted at MoEngage, too. The zero value never does.
type Deletes struct {
	Send   bool   `json:"send,omitempty"`
	PerDay uint64 `json:"per_day,omitempty"` // of one UTC day; more are held
}

// SendsAttributes reports whether transitions become attributes.
func (p *Policy) SendsAttributes() bool { return p.Send&(SendAttribute|SendAsReceived) != 0 }

// Sendable returns the value to send for a trait's value. send is false if nothing is sent.
func (p *Policy) Sendable(value []byte) (_ []byte, send bool) {
	switch {
	case !bytes.Equal(value, JSONNull), p.OnNull == NullUnset:
		return value, true
	case p.OnNull == NullEmpty:
		return JSONEmpty, true
	}
	return nil, false
}

// IsTooOld reports whether an event is older than max_event_age allows.
func (p *Policy) IsTooOld(e *Event) bool {
	return p.MaxEventAge > 0 && e.Age() > p.MaxEventAge
}

// ForwardedTraits returns the traits of an identify of the computation key that forward_traits names.
func (p *Policy) ForwardedTraits(key string, e *Event) map[string]json.RawMessage {
	if len(p.ForwardTraits) == 0 || e.Call != CallIdentify || p.Send == SendNone || e.Object.Len == 0 {
		return nil
	}
	var traits map[string]json.RawMessage
	if json.Unmarshal(e.Bytes(e.Object), &traits) != nil {
		return nil
	}
	all := slices.Contains(p.ForwardTraits, "*")
	maps.DeleteFunc(traits, func(name string, _ json.RawMessage) bool {
		own := name == key || slices.ContainsFunc(e.Columns, func(c Column) bool { return c.Name == name })
		return own || e.leavesOut(name) || !all && !slices.Contains(p.ForwardTraits, name)
	})
	return traits
}

// Guards reports whether the mass-exit guard watches computations under a policy.
func (r *Rules) Guards(p *Policy) bool {
	return r.Guard.Share > 0 && r.Guard.Window > 0 && !p.Unguarded && p.Send != SendNone
}

// ChangedRules names the computations that are treated differently from now on; "(defaults)" stands
// for all that have no section.
func ChangedRules(old, next Rules) []string {
	before, after := sections(old), sections(next)
	changed := make(map[string]bool)
	for name, policy := range after {
		if was, ok := before[name]; !ok || !reflect.DeepEqual(was, policy) {
			changed[name] = true
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			changed[name] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

// sections returns the policies by name, each with the list of users that it names.
func sections(r Rules) map[string]Policy {
	listed := func(p Policy) Policy {
		if p.Rollout != nil {
			p.Listed = r.Lists[p.Rollout.List]
		}
		return p
	}
	m := map[string]Policy{"(defaults)": listed(r.Defaults)}
	for _, s := range r.Sections {
		name := s.Key
		if s.ID != "" {
			name = s.ID
		}
		m[name] = listed(s.Policy)
	}
	return m
}
