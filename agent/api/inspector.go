package api

import (
	"context"
	"encoding/json"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Inspector answers what people and scripts ask about an agent. One reads the files of a stopped agent, [Client] asks a
// running one. A command does not know which, and gets equal answers and equal errors. Every method is one page, read at
// one moment, and changes nothing.
type Inspector interface {
	// Status is the agent on one screen.
	Status(ctx context.Context) (condition.Status, error)

	// Changes lists one page of the outbox or of history. next is the cursor of the next page, "" at the end.
	Changes(ctx context.Context, f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error)

	// Change shows one change, or store.ErrNotFound.
	Change(ctx context.Context, id domain.ID) (*ChangePage, error)

	// Stats counts the changes that pass a filter by state, computation, kind and reason. Without a state it counts
	// those that are not closed.
	Stats(ctx context.Context, f domain.OutboxFilter) ([]domain.StatLine, error)

	// Computations lists every computation seen.
	Computations(ctx context.Context) ([]domain.ComputationInfo, error)

	// Members lists one page of an audience's members. An unknown key is store.ErrNotFound, an
	// ambiguous one a *store.AmbiguousError.
	Members(ctx context.Context, key, after string, limit int) (page []domain.MemberInfo, more bool, err error)

	// Journal lists one page of the enters and exits of a user or of an audience, the newest first. An unknown one is
	// store.ErrNotFound, an ambiguous one a *store.AmbiguousError, and a trait store.ErrNoMembers.
	Journal(ctx context.Context, f domain.JournalFilter) (domain.JournalPage, error)

	// User shows one user, or store.ErrNotFound.
	User(ctx context.Context, id string) (*domain.UserInfo, error)

	// Deletions lists the receipts of deletes at MoEngage, the newest first. total is how many pass the filter.
	Deletions(ctx context.Context, f domain.DeletionFilter) (list []domain.Deletion, total int, err error)

	// DryRun shows the first requests of a flush, for at most limit users and never more than MaxDryRun. Later events of
	// the same user follow in later requests. computation "" is all of them.
	DryRun(ctx context.Context, computation string, limit int) (*DryRunResult, error)

	// Preview shows what a delivery would come to now, and receives nothing.
	Preview(ctx context.Context, q PreviewQuery) (*PreviewResult, error)

	// Activity lists the newest entries, or those since a cursor.
	Activity(ctx context.Context, f store.ActivityFilter) (store.Activity, error)

	// Schedule lists the scheduled jobs, each with up to next of its next runs.
	Schedule(ctx context.Context, next int) ([]JobInfo, error)

	// Where says in a sentence where the answers come from.
	Where() string
}

var _ Inspector = (*Client)(nil)

// MaxDryRun is how many users, and how many events, a dry run shows at most. It is one answer with every request in it.
const MaxDryRun = 1000

// DryRunResult is what a flush would do. Secrets in its requests are masked.
type DryRunResult struct {
	Requests  []syncer.Preview `json:"requests"`
	WouldPark []string         `json:"would_park"` // changes that cannot be sent as they are, and why
	Remarks   []string         `json:"remarks"`    // why nothing leaves now
}

// ChangePage is everything about one change: its line of the listing, its outcome, the event that caused it and the
// request that would carry it. It has more than 15 fields because the contract has one flat object.
type ChangePage struct {
	domain.ChangeInfo
	ComputationID string          `json:"computation_id"`
	Class         string          `json:"class"`
	Name          string          `json:"name"` // of the attribute or event at MoEngage
	MessageID     string          `json:"message_id"`
	TimeSource    string          `json:"event_time_source,omitempty"` // where event_time comes from; "" if from the event itself, and once retention removed that
	TimeSentence  string          `json:"event_time_sentence,omitempty"`
	LeftOut       []string        `json:"left_out,omitempty"` // names of the event's values that can be neither kept nor sent
	Sentence      string          `json:"sentence"`
	Answer        *domain.Answer  `json:"answer"` // MoEngage's last one; null before any
	Closed        string          `json:"closed"`
	SupersededBy  string          `json:"superseded_by"`
	OrderedBy     string          `json:"ordered_by,omitempty"` // the command that caused it instead of an event
	Event         json.RawMessage `json:"event"`                // as received; null once retention removed it; a string if it is not plain JSON
	Request       *syncer.Preview `json:"request"`              // that would carry it now, without others
	NoRequest     string          `json:"no_request"`           // why there is no request
}

// JobInfo is one line of `schedule`. Times are RFC 3339, "" when there is none.
type JobInfo struct {
	Job      string   `json:"job"` // [schedule], [verify], or the computation with its own
	Spec     string   `json:"spec"`
	Zone     string   `json:"zone"`
	Last     string   `json:"last"`     // the time that the last run stands for, UTC
	Finished string   `json:"finished"` // when it ended; "" while it is in progress, or if it was interrupted
	Running  bool     `json:"running"`
	Missed   uint64   `json:"missed"`   // times at which no run of its own began, ever
	CatchUp  bool     `json:"catch_up"` // one run makes up for all missed ones
	Next     []string `json:"next"`     // in the zone
	NextUTC  []string `json:"next_utc"`

	Failed   uint64 `json:"failed"`    // runs that ended with an error, ever
	FailedAt string `json:"failed_at"` // when the last run that ended failed; "" if it did not
	Code     string `json:"code"`      // of that failure
	Error    string `json:"error"`
}

// MaxNext is how many next runs of a job a question can ask for.
const MaxNext = 1000
