package syncer

import (
	"net/http"
	"time"

	"personasync/store/domain"
)

// Config says where MoEngage is and how it wants to be treated. BaseURL, WorkspaceID and APIKey have
// no defaults. Timeout, Concurrency, MaxRequestBytes and the backoffs, when zero, take the values of
// agent.example.toml; a limit of zero is no limit, and a MaxDelay of zero is no delay.
type Config struct {
	Endpoint domain.Endpoint // that the sender serves; zero is RoadTransition

	BaseURL     string // scheme and host, such as https://api-01.moengage.com
	WorkspaceID string
	APIKey      string // of the Data API
	Region      string // the data center's number, which a test of the credentials names; zero is 01

	// ForwardedFor, unless "", is sent as X-Forwarded-For. MoEngage's IP whitelisting wants the address
	// that it sees this host under there.
	ForwardedFor string

	Timeout         time.Duration // of one request, from dialling to the end of the answer
	Concurrency     int           // requests in flight
	UsersPerMinute  int           // customer elements
	EventsPerMinute int           // actions
	CallsPerMinute  int           // requests
	MaxRequestBytes int           // of one body

	UpdateExistingOnly bool // MoEngage skips attributes of users it does not know
	RealTimeAction     bool // adds "real_time_action":"true" to events

	MinBackoff, MaxBackoff time.Duration
	MaxAttempts            int // 0: for ever

	// Realtime reports whether a job's changes leave by themselves, MaxDelay after they were
	// received; else they wait for Open. The job "" is the default schedule. nil: every job does.
	Realtime func(job string) bool
	MaxDelay time.Duration // how long a change waits for company

	// Transport carries the requests; nil is the network.
	Transport http.RoundTripper

	// Observe is told of every request once it was answered, or was not. It is called from the
	// goroutine that made the request, so it must be quick and may be called concurrently.
	Observe func(Report)
}

// Report is one request as metrics and the live tail see it. It names no user.
type Report struct {
	Code          string // of the failure table; "accepted" if all went well
	Status        int    // 0 without an answer
	Users, Events int    // Users are members on the road of cohorts
	Bytes         int
	Took          time.Duration
}

// withDefaults returns c with its gaps filled.
func (c Config) withDefaults() Config {
	if c.Endpoint == 0 {
		c.Endpoint = domain.EndpointTransition
	}
	if c.Region == "" {
		c.Region = "01"
	}
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

func (c Config) encoder() encoder {
	return encoder{endpoint: c.Endpoint, updateExistingOnly: c.UpdateExistingOnly, realTimeAction: c.RealTimeAction}
}
