package query

import "time"

// Notices are what one receiver of notifications was told last. They are kept so that a restart neither repeats nor
// forgets a message.
type Notices struct {
	Receiver string   `json:"receiver"` // url | command
	Last     *Notice  `json:"last,omitempty"`
	Open     []Notice `json:"open"` // conditions whose last message is not that they ended, and those about to be told
}

// Notice is the state of one condition as a receiver knows it.
type Notice struct {
	Condition string    `json:"condition"`
	Severity  string    `json:"severity,omitempty"` // as told; "" if it was never told
	Began     time.Time `json:"began,omitzero"`     // of the condition, as told
	Told      string    `json:"told,omitempty"`     // began | ended | "": the last message about it
	ToldAt    time.Time `json:"told_at,omitzero"`
	Differs   time.Time `json:"differs,omitzero"` // since when the condition is not as told; zero while it is
}

// Notices lists what each receiver of notifications was told, by receiver.
func (v *Reader) Notices() ([]Notices, error) {
	return allRuns[Notices](v, RunOfNotices, "notifications")
}
