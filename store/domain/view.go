package domain

import (
	"encoding/json"
	"time"
)

// The types in this file are what inspection shows; their JSON names are the contract's.

// Counts is what the store knows of itself at one moment. It has a field for each figure, because they are read in one
// transaction.
type Counts struct {
	Received     uint64       // events accepted at the door, applied or not
	Unapplied    uint64       // records in the inbox that the state does not know yet
	Rejected     uint64       // requests refused at the door
	Refusals     []Refusal    `json:"-"` // these by kind, the most frequent first
	LastReceived LastReceived `json:"-"` // when the newest event applied was received
	Users        uint64
	Audiences    uint64
	Journal      uint64 `json:"-"` // its bytes

	Events  EventLedger
	Changes ChangeLedger
	Backlog Backlog `json:"-"`

	Comparing *Comparing `json:"-"` // nil: all users are compared with the consent and the rollouts of the rules
	Rollout   uint64     `json:"-"` // of the held changes, those that a rollout holds
	Paused    uint64     `json:"-"` // of the held changes, those that a pause of their computation holds

	Deletions DeletionCounts `json:"-"`

	OldestPending time.Time            // receipt of the oldest pending change; zero when there is none
	OldestOfJobs  map[string]time.Time `json:"-"` // the same of each job that has one; "" is the default schedule
}

// Comparing is how many of the users are compared, after a change of consent or of a rollout in the configuration.
type Comparing struct {
	Done  uint64 `json:"done"`
	Users uint64 `json:"users"`
}

// ChangeInfo is one line of `outbox list`.
type ChangeInfo struct {
	ID          string          `json:"id"`
	State       string          `json:"state"`
	Kind        string          `json:"kind"`
	User        string          `json:"user"`
	Computation string          `json:"computation"`
	Transition  string          `json:"transition"`
	Value       json.RawMessage `json:"value"`
	EventTime   string          `json:"event_time"`
	ReceivedAt  string          `json:"received_at"`
	Attempts    int             `json:"attempts"`
	NextAttempt string          `json:"next_attempt"`
	Reason      string          `json:"reason"`
	Cause       string          `json:"cause,omitempty"` // of parked items with words of the other side: the reason and these, less what names this change
	Trace       string          `json:"trace,omitempty"` // id of the trace of the delivery that caused it; "" if that named none
}

// ComputationInfo is one line of `audience list`, whose columns its fields are.
type ComputationInfo struct {
	Key       string `json:"key"`
	ID        string `json:"id"`
	Space     string `json:"space"`
	Class     string `json:"class"`
	Members   uint64 `json:"members"`
	Entered   uint64 `json:"entered"`
	Exited    uint64 `json:"exited"`
	Held      uint64 `json:"held"`
	LastEvent string `json:"last_event"`

	// SentUpTo is the watermark: MoEngage accepted everything about it that was received before, except parked
	// or held. It is no later than the newest event, and may be earlier than is true while thousands of users wait. ""
	// while it is not known, and from a call that does not read it.
	SentUpTo string `json:"sent_up_to,omitempty"`

	// ExitsHeldSince is when the guard found that too many members left at once; "" while exits go.
	ExitsHeldSince string `json:"exits_held_since,omitempty"`

	// Conflict is set while changes are held because another computation has the name: key_conflict.
	Conflict *Conflict `json:"conflict,omitempty"`

	// Rollout is set where not everybody is told.
	Rollout *RolloutInfo `json:"rollout,omitempty"`

	// Withheld counts the members, of a trait the values, that MoEngage is not told of, for lack of consent or because they are in the holdout.
	Withheld uint64 `json:"withheld,omitempty"`

	// Pause is set while an operator pauses it. HeldPaused counts the changes that are held for that, as part of Held.
	Pause      *Pause `json:"pause,omitempty"`
	HeldPaused uint64 `json:"held_paused,omitempty"`
}

// RolloutInfo is whom a computation is told of.
type RolloutInfo struct {
	Share   float64 `json:"share"`
	Holdout float64 `json:"holdout"`
	Listed  *int    `json:"listed,omitempty"` // users of only_users_file
	Held    uint64  `json:"held"`             // changes of users whom the rollout does not reach, as part of all held ones
}

// Conflict is the computation that has a name already under which another one would be sent.
type Conflict struct {
	Key  string `json:"key"`
	ID   string `json:"id"`
	Name string `json:"name"` // as it leaves
}

// MemberInfo is one line of `audience members KEY`.
type MemberInfo struct {
	User  string `json:"user"`
	Since string `json:"since"`
}

// MembershipInfo is one computation on the page of a user.
type MembershipInfo struct {
	Computation string `json:"computation"`
	In          bool   `json:"in"`
	Since       string `json:"since"`
	Delivered   bool   `json:"delivered"`                   // MoEngage was told of just this
	Told        string `json:"told,omitempty"`              // the last thing that it was told: in, out, nothing, uncertain; "" while that is under way as events
	NotTold     string `json:"not_told,omitempty"`          // why the rollout, or the pause, of the computation keeps it from MoEngage
	Event       string `json:"event"`                       // message id of the event that set it, or the command that did, while that is kept
	Withheld    bool   `json:"withheld,omitempty"`          // MoEngage is not told, because the user has not given Consent
	TimeSource  string `json:"event_time_source,omitempty"` // of that event, if a time of it cannot be read or believed: see TimeSource
}

// UserInfo is the page of one user.
type UserInfo struct {
	User        string                     `json:"user"`
	Memberships []MembershipInfo           `json:"memberships"`
	Traits      map[string]json.RawMessage `json:"traits"`
	NotTold     map[string]string          `json:"traits_not_told,omitempty"` // why the rollout, or the pause, of its computation keeps a trait from MoEngage
	Consent     *ConsentInfo               `json:"consent,omitempty"`         // nil: no statement is kept, and nothing is withheld
	Pending     []UserChange               `json:"pending"`                   // pending, held and parked
	HistoryMore bool                       `json:"history_more,omitempty"`    // there is more, likewise
	EventsMore  bool                       `json:"events_more,omitempty"`     // of memberships behind the first 200 the event is not looked up
	PendingMore bool                       `json:"pending_more,omitempty"`    // there is more: `outbox list --user` has all of it
	History     []UserChange               `json:"history"`

	// Deletions are the receipts of deletes of the user at MoEngage, the newest first. DeletedUntil is until when their
	// other changes wait because MoEngage may still delete the user.
	Deletions    []Deletion `json:"deletions,omitempty"`
	DeletedUntil string     `json:"deleted_until,omitempty"`
}

// ConsentInfo says what a user has consented to, and which computations are withheld for lack of it.
type ConsentInfo struct {
	Given  []string `json:"given"`  // every other category is refused
	Since  string   `json:"since"`  // event time of the statement that made it so; "" before the first one
	Newest string   `json:"newest"` // event time of the newest statement
	By     string   `json:"by"`     // that statement: ConsentEvent, or "an event of a computation"; "" before the first one
	Event  string   `json:"event"`  // its message id, while that is kept

	Withheld []WithheldInfo `json:"withheld"`
}

// WithheldInfo is one membership, or one trait, that is withheld.
type WithheldInfo struct {
	Computation string   `json:"computation"`
	Trait       string   `json:"trait,omitempty"` // its name, if it is one
	Asks        []string `json:"asks"`            // for consent to all of these
}

// UserChange is a change on the page of its user: what MoEngage said of it, and why it waits.
type UserChange struct {
	ChangeInfo
	Wait     Wait    `json:"wait,omitempty"`   // empty when it is over
	Behind   string  `json:"behind,omitempty"` // id of the change that goes first
	Job      string  `json:"job,omitempty"`    // schedule that it leaves by
	Bulk     bool    `json:"bulk,omitempty"`   // it comes of an order or a repair, and leaves behind live changes
	Until    string  `json:"until,omitempty"`  // until when the user's changes wait after a failure of another one
	Waits    string  `json:"waits,omitempty"`  // the same for people; not of the store's making
	Sentence string  `json:"sentence,omitempty"`
	Answer   *Answer `json:"answer,omitempty"`
}

// Wait says why MoEngage was not told of a change yet.
type Wait string

const (
	WaitUnderWay Wait = "under_way"  // it is in a request that was not answered yet
	WaitBehind   Wait = "behind"     // an earlier event of the user goes first
	WaitRetry    Wait = "retry"      // an attempt failed
	WaitUser     Wait = "user_retry" // an attempt at another change of the user failed
	WaitAccount  Wait = "user"       // of a cohort: MoEngage must have come to know the user first
	WaitDue      Wait = "due"        // nothing but its schedule
	WaitDeletion Wait = "deletion"   // MoEngage is to delete the user first, or may delete the user still
	WaitHeld     Wait = "held"
	WaitParked   Wait = "parked"
)

// OutboxFilter says which changes a listing shows, statistics count, or an action takes. The zero value is every pending
// change; for statistics it is every change that is not closed.
type OutboxFilter struct {
	State       State
	User        string
	Computation string    // key or id
	Reason      string    // a reason, or a cause as [StatLine] has it
	Since       time.Time // received at this time or later; zero: any time
	Until       time.Time // received before this time; zero: any time
	Limit       int       // of a listing; 0: 100
	Cursor      string    // where the page before ended, as Changes returned it; "" for the first page
}

// Matches reports whether a change of any state passes the filter.
func (f *OutboxFilter) Matches(c *Change) bool {
	switch {
	case f.User != "" && f.User != c.User,
		f.Computation != "" && f.Computation != c.Computation && f.Computation != c.ComputedBy,
		!f.Since.IsZero() && c.Received.Before(f.Since),
		!f.Until.IsZero() && !c.Received.Before(f.Until):
		return false
	}
	return f.Reason == "" || f.Reason == c.Reason || c.State == StateParked && f.Reason == c.Cause()
}

// StatLine is one line of `outbox stats`: how many changes share a state, a computation and a reason.
type StatLine struct {
	State       string `json:"state"`
	Kind        string `json:"kind"`
	Computation string `json:"computation"`
	Reason      string `json:"reason"`
	Cause       string `json:"cause"` // of parked items; else the reason
	Count       uint64 `json:"count"`
	First       string `json:"first"` // receipt of the oldest
	Last        string `json:"last"`  // … and of the newest of them

	Samples []string `json:"samples"` // ids of a few of them
}

// Describe turns a change into its line of a listing.
func (c *Change) Describe() ChangeInfo {
	info := ChangeInfo{
		ID: c.ID.String(), State: c.State.String(), Kind: c.Kind.String(), User: c.User, Computation: c.Computation,
		Transition: c.Transition.String(), Value: c.Value, EventTime: Timestamp(c.EventTime), ReceivedAt: Timestamp(c.Received),
		Attempts: c.Attempts, NextAttempt: Timestamp(c.NextAttempt), Reason: c.Reason,
	}
	if info.Value == nil {
		info.Value = json.RawMessage("null")
	}
	if cause := c.Cause(); c.State == StateParked && cause != c.Reason {
		info.Cause = cause
	}
	if c.Trace != nil {
		info.Trace = c.Trace.String()
	}
	return info
}
