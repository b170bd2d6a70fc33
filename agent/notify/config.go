package notify

import "time"

// Config has the receivers, and when they are told. The zero Config tells nobody.
type Config struct {
	URL        string   // "": no POST
	Headers    []string // each "Name: value"
	Format     string   // see Formats
	RoutingKey string   // of PagerDuty

	Command []string // nil: no command

	After time.Duration // how long a condition must last, and be over, before it is told

	HeartbeatURL   string // "": no heartbeat
	HeartbeatEvery time.Duration
	HeartbeatLag   time.Duration // no heartbeat while a change is overdue by this

	Shared  bool   // several agents share the store, in PostgreSQL
	Host    string // as messages name this machine
	Version string
}

// configured reports whether anything is to be done.
func (c *Config) configured() bool {
	return c.URL != "" || len(c.Command) > 0 || c.HeartbeatURL != ""
}

// secrets are the texts that no error may repeat.
func (c *Config) secrets() []string {
	return append([]string{c.URL, c.HeartbeatURL, c.RoutingKey}, headerValues(c.Headers)...)
}
