package api

import (
	"context"
	"encoding/json"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Inspector answers what people and scripts ask about an agent. [Local] reads the files, [Client]
// asks the running agent; a command never knows which, and gets equal answers and equal errors.
// Every method is one page, read at one moment. Nothing of it changes anything.
type Inspector interface {
	Status(ctx context.Context) (condition.Status, error)

	// Changes lists one page of the outbox or of history; next is the cursor of the page behind it, ""
	// at the end.
	Changes(ctx context.Context, f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error)

	// Change shows one change, or store.ErrNotFound.
	Change(ctx context.Context, id domain.ID) (*ChangePage, error)

	Stats(ctx context.Context) ([]domain.StatLine, error)
	Computations(ctx context.Context) ([]domain.ComputationInfo, error)

	// Members lists one page of an audience's members. An unknown key is store.ErrNotFound, an
	// ambiguous one a *store.AmbiguousError.
	Members(ctx context.Context, key, after string, limit int) (page []domain.MemberInfo, more bool, err error)

	// User shows one user, or store.ErrNotFound.
	User(ctx context.Context, id string) (*domain.UserInfo, error)

	// DryRun shows what a flush would send first: what is due of each user at once, for at most limit
	// users and never more than MaxDryRun. Later events of the same user follow in later requests. computation "" is everything.
	DryRun(ctx context.Context, computation string, limit int) (*DryRunResult, error)

	// Trail returns what happened lately, or since a cursor.
	Activity(ctx context.Context, f store.ActivityFilter) (store.Activity, error)

	// Schedule lists the jobs, each with so many of its next runs.
	Schedule(ctx context.Context, next int) ([]JobInfo, error)

	// Where says in a sentence where the answers come from.
	Where() string
}

var _ Inspector = (*Client)(nil)

// MaxDryRun is how many users a dry run shows at most, and how many events: it is one answer, with
// every request in it.
const MaxDryRun = 1000

// DryRunResult is a flush that was not made: the requests, their secrets masked.
type DryRunResult struct {
	Requests  []syncer.Preview `json:"requests"`
	WouldPark []string         `json:"would_park"` // what cannot be sent as it is, and why
}

// ChangePage is everything about one change: its line of the listing, what became of it, the event
// that caused it and the request that tells MoEngage.
type ChangePage struct {
	domain.ChangeInfo
	ComputationID string          `json:"computation_id"`
	Class         string          `json:"class"`
	Name          string          `json:"name"` // of the attribute or event at MoEngage
	MessageID     string          `json:"message_id"`
	TimeSource    string          `json:"event_time_source,omitempty"` // what event_time rests on; "" for the event's own, and once retention took that
	TimeSentence  string          `json:"event_time_sentence,omitempty"`
	LeftOut       []string        `json:"left_out,omitempty"` // names of the event's values that can be neither kept nor sent
	Sentence      string          `json:"sentence"`
	Answer        *domain.Answer  `json:"answer"` // MoEngage's last one; null before any
	Closed        string          `json:"closed"`
	SupersededBy  string          `json:"superseded_by"`
	OrderedBy     string          `json:"ordered_by,omitempty"` // the command that caused it instead of an event
	Event         json.RawMessage `json:"event"`                // as received, null once retention took it; a string if it is not plain JSON
	Request       *syncer.Preview `json:"request"`              // that would carry it alone, now
	NoRequest     string          `json:"no_request"`           // why there is none
}

// JobInfo is one line of `schedule`. Times are RFC 3339, "" when there is none.
type JobInfo struct {
	Job      string   `json:"job"` // [schedule], [verify], or the computation with its own
	Spec     string   `json:"spec"`
	Zone     string   `json:"zone"`
	Last     string   `json:"last"`     // the time that the last run stands for, UTC
	Finished string   `json:"finished"` // when it ended; "" while it is under way or was cut off
	Running  bool     `json:"running"`
	Missed   uint64   `json:"missed"`   // times at which no run of its own began, ever
	CatchUp  bool     `json:"catch_up"` // a run makes up for missed ones
	Next     []string `json:"next"`     // in the zone
	NextUTC  []string `json:"next_utc"`

	Failed   uint64 `json:"failed"`    // runs that ended with an error, ever
	FailedAt string `json:"failed_at"` // when the last run that ended failed; "" if it did not
	Code     string `json:"code"`      // of that failure
	Error    string `json:"error"`
}

// MaxNext is how many runs ahead can be asked for.
const MaxNext = 1000
