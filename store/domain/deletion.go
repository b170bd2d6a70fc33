package domain

import "time"

// DeletionBuffer is how long after it accepted a delete MoEngage may still delete the user: 24 hours by its documents,
// and a margin, because the day is counted from a moment at MoEngage that nobody knows. A change sent within it is lost
// with the user; one sent afterwards makes a new user.
const DeletionBuffer = 25 * time.Hour

// ReasonDeleteLimit is the reason of a delete that is held because more were asked for in a day than
// moengage.max_deletes_per_day.
const ReasonDeleteLimit = "delete_limit"

// Deletion is the receipt of a request to delete a user at MoEngage. It outlives the user's id, of which it keeps a
// salted hash: the id leads to the receipt, and the receipt does not give the id away.
type Deletion struct {
	ID        string `json:"id"`                   // of the change
	State     string `json:"state"`                // pending, held, parked; delivered once MoEngage accepted it, dropped
	User      string `json:"user,omitempty"`       // until it is delivered or dropped: MoEngage has to be told it
	Hash      string `json:"hash"`                 // of the user's id, in hexadecimal
	Asked     string `json:"asked"`                // when
	By        string `json:"by"`                   // segment, or the operator's user name on the host
	MessageID string `json:"message_id,omitempty"` // of Segment's delete
	Reason    string `json:"reason,omitempty"`     // why it waits, or not_found: MoEngage had no such user
	Sentence  string `json:"sentence,omitempty"`   // the same for people
	Attempts  int    `json:"attempts,omitempty"`   // while it waits
	Closed    string `json:"closed,omitempty"`     // when MoEngage accepted it, or an operator dropped it
	Status    int    `json:"status,omitempty"`     // of MoEngage's answer
	RequestID string `json:"request_id,omitempty"` // likewise
	Final     string `json:"final,omitempty"`      // when MoEngage has deleted the user at the latest
}

// DeletionFilter says which receipts are listed.
type DeletionFilter struct {
	User  string // "": of every user
	State string // "": in any state
	Skip  int    // so many of the newest
	Limit int
}

// DeletionCounts is what the store knows of deletes at one moment.
type DeletionCounts struct {
	Pending uint64    `json:"pending"`
	Held    uint64    `json:"held"`
	Parked  uint64    `json:"parked"`
	Today   uint64    `json:"today"` // asked for on the UTC day of the newest one
	Oldest  time.Time `json:"-"`     // receipt of the oldest pending one; zero: none is
}

// BySegment is Deletion.By of a delete that Segment sent.
const BySegment = "segment"
