package syncer

import (
	"cmp"
	"net/http"
	"time"

	"personasync/store/domain"
)

// Config configures a sender. BaseURL, WorkspaceID and APIKey have no defaults. A zero Timeout, Concurrency,
// MaxRequestBytes or backoff means the value in agent.example.toml. A zero limit means no limit, and a zero
// MaxDelay no delay. It has a field for each setting of a sender.
type Config struct {
	Endpoint domain.Endpoint // served by the sender; zero means EndpointTransition

	// Off begins no request. Changes stay in the outbox.
	Off bool

	BaseURL     string // scheme and host, such as https://api-01.moengage.com
	WorkspaceID string
	APIKey      string // of the Data API
	Region      string // number of the data center, for a test of the credentials; zero means 01

	// ForwardedFor, if not "", is sent as X-Forwarded-For. MoEngage's IP whitelisting requires this host's
	// public address there.
	ForwardedFor string

	Timeout         time.Duration // of one request, from dialling to the end of the answer
	Concurrency     int           // requests in flight
	UsersPerMinute  int           // customer elements
	EventsPerMinute int           // actions
	CallsPerMinute  int           // requests
	MaxRequestBytes int           // of one body

	UpdateExistingOnly bool // MoEngage skips attributes of unknown users
	RealTimeAction     bool // adds "real_time_action":"true" to events

	MinBackoff, MaxBackoff time.Duration
	MaxAttempts            int // 0 means unlimited

	// Realtime reports whether a job's changes are sent without Open, MaxDelay after their receipt. The job ""
	// is the default schedule. Nil means every job. It is called concurrently.
	Realtime func(job string) bool
	MaxDelay time.Duration // how long a change waits to be batched with others

	// Transport makes the requests. Nil means the network.
	Transport http.RoundTripper

	// Allowed is asked right before a request leaves, and its error keeps it from leaving. Nil allows all. It must be fast
	// and safe for concurrent use.
	Allowed func() error

	// Observe is called after every request, answered or not. It runs on the goroutine of the request, so it
	// must be fast and safe for concurrent use.
	Observe func(Report)

	// Accepted is called once for each change that MoEngage accepted, with the time since its receipt, after the
	// outbox has noted the acceptance. The same holds for it as for Observe.
	Accepted func(kind domain.Kind, delay time.Duration)
}

// Limits of MoEngage's pages "Cohort Sync" and "Delete User".
const (
	CohortCallsPerMinute = 300     // requests per minute and workspace
	CohortRequestBytes   = 128_000 // MoEngage says "128 KB"; this is the smaller reading
	DeletesPerMinute     = 4_000   // of one user each: the limit is 5,000, and MoEngage's guide advises to stay at this
)

// Report describes one request for metrics and the live tail. It contains no user ids.
type Report struct {
	Code          string // of the failure table; "accepted" on success
	Status        int    // 0 if there was no answer
	Users, Events int    // Users counts the members in a cohort request
	Bytes         int
	Took          time.Duration
}

// withDefaults returns c with defaults in place of zero values.
func (c Config) withDefaults() Config {
	c.Endpoint = cmp.Or(c.Endpoint, domain.EndpointTransition)
	c.Region = cmp.Or(c.Region, "01")
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 4
	}
	if c.MaxRequestBytes <= 0 {
		c.MaxRequestBytes = 100_000
	}
	if c.MinBackoff <= 0 {
		c.MinBackoff = time.Second
	}
	if c.MaxBackoff < c.MinBackoff {
		c.MaxBackoff = max(c.MinBackoff, 5*time.Minute)
	}
	if c.Realtime == nil {
		c.Realtime = func(string) bool { return true }
	}
	return c
}
