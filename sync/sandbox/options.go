package sandbox

import (
	"log/slog"
	"time"
)

// Options configures a sandbox. The zero value is a new workspace with MoEngage's default limits that accepts
// any credentials and validates bulk requests leniently.
type Options struct {
	WorkspaceID string // "" accepts any, but the same one everywhere in a request
	APIKey      string // "" accepts any except an empty one

	Latency time.Duration // of every answer
	Delay   time.Duration // between accepting data and applying it: 200 means queued
	Faults  []Fault       // from the start

	// Limits in any 60 seconds: zero is the documented default, negative means none.
	UsersPerMinute   int // 60,000; older pages say 10,000
	EventsPerMinute  int // 60,000; older pages say 30,000
	CohortsPerMinute int // requests; 300
	ExportsPerMinute int // exported users; 1,000

	// Strict refuses a whole bulk request for one bad element. Otherwise the answer is 200 and the element is
	// dropped. MoEngage documents both.
	Strict bool

	Objects    bool // the workspace has the object data type, off by default
	EpochReset bool // x-ratelimit-reset is an epoch instead of the seconds left; both are documented
	KeepAll    bool // drop nothing: memory grows with the data
	KeepBodies bool // keep bodies in Requests

	Log *slog.Logger // nil means silent. User ids are logged at debug level only
}
