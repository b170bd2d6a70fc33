package domain

import "time"

// JournalCause is why the journal has an entry. Numbers are on disk.
type JournalCause uint8

const (
	CauseEvent     JournalCause = 1  // an event of Segment
	CauseImport    JournalCause = 2  // `audience import`
	CauseBaseline  JournalCause = 3  // `audience baseline`: MoEngage has it already
	CauseClose     JournalCause = 4  // `audience close`
	CauseAdopt     JournalCause = 5  // `audience adopt`
	CauseDiscard   JournalCause = 6  // `audience discard`, of exits that the guard held
	CauseReconcile JournalCause = 7  // `audience reconcile`
	CauseRepair    JournalCause = 8  // `audience verify --repair`, also by a schedule
	CauseRetry     JournalCause = 9  // `outbox retry` of an older change
	CauseConsent   JournalCause = 10 // the user's consent
)

var journalCauses = [...]string{"", "event", "import", "baseline", "close", "adopt", "discard", "reconcile", "repair", "retry", "consent"}

// String returns the word of a cause, "" for an unknown one.
func (c JournalCause) String() string { return word(journalCauses[:], c) }

// JournalFilter says which entries of the journal a page shows, the newest first. Exactly one of User and Computation
// must be set for a question about one; User may be limited to a Computation.
type JournalFilter struct {
	User        string
	Computation string    // key or id
	Since       time.Time // received at this time or later; zero: any time
	Until       time.Time // received before this time; zero: any time
	Limit       int       // 0: 100
	Before      uint64    // number of the last entry of the page before; 0: the first page
}

// JournalPage is a page of the journal.
type JournalPage struct {
	Items []JournalInfo `json:"items"`
	Next  uint64        `json:"next,omitempty"` // Before of the next page; 0 at the end

	// From is the receipt of the oldest entry that is kept, "" without any. Of earlier times the journal does not speak.
	From string `json:"from"`

	// Off is true while history.keep is 0, so that nothing is written.
	Off bool `json:"off,omitempty"`
}

// JournalInfo is one line of `user history` or `audience transitions`.
type JournalInfo struct {
	User          string `json:"user"`
	Computation   string `json:"computation"`
	ComputationID string `json:"computation_id"`
	Transition    string `json:"transition"` // enter or exit; event for one that Segment repeats on purpose

	// Moved is true if the membership changed. Else it was this already, and changes were made all the same: by the other
	// call of Segment, or to tell MoEngage again.
	Moved bool `json:"moved"`

	Cause      string `json:"cause"`                // see JournalCause
	MessageID  string `json:"message_id,omitempty"` // of the event
	By         string `json:"by,omitempty"`         // login of the operator, if the host said it
	EventTime  string `json:"event_time"`
	ReceivedAt string `json:"received_at"`
	Record     uint64 `json:"record"` // number in the inbox; ids of its changes have it as their second part

	// Told is what became of the changes that it made. It is only filled for one user.
	Told []JournalTold `json:"told,omitempty"`
}

// JournalTold is what became of one change.
type JournalTold struct {
	Change string `json:"change"` // its id
	Kind   string `json:"kind"`
	State  string `json:"state"`
	At     string `json:"at,omitempty"`     // when MoEngage accepted it, or when it ended otherwise
	Reason string `json:"reason,omitempty"` // of one that is held, parked or retried
	Waits  string `json:"waits,omitempty"`  // of one that has not ended: why, and until when; not of the store's making

	Open *UserChange `json:"-"` // the change itself, if it has not ended
}
