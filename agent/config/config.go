// Package config reads agent.toml: finds it, lays environment variables and secret files over it, and
// refuses everything wrong with it at once.
//
// [Load] is the whole of it. A [Config] that it returns is valid: every value is in range, paths are
// resolved, every computation has its complete policy. What it refuses comes back as [*Faults], one
// [Fault] for each mistake with key, value and place. What is allowed but probably not meant is told
// by [Config.Warnings], and what a running agent needs beyond valid values by [Config.Complete].
//
// Values are laid over each other in this order, the last one wins: defaults, agent.toml, environment.
// A variable is named PERSONASYNC_SECTION_KEY; lists are comma separated in it. A variable that is set
// to nothing counts as set: it empties a text, and is a fault for a number. A secret is given once,
// in agent.toml as itself or as a file, or as a credential of systemd; the environment overrides all
// three. Relative paths, wherever they were given, begin at the folder of agent.toml.
//
// The package reads files and nothing else: no log, no socket, no clock.
package config

import (
	"path/filepath"
	"strings"
	"time"

	"personasync/store"
)

// Config is the configuration of one agent; its tags are the names in agent.toml.
//
// More tags hold what a value may be, and [Load] enforces them: "one" lists the words allowed,
// "min" and "max" bound a number or a duration. "path" marks what resolves against the file's folder,
// "credential" names the systemd credential that may stand for a secret, and "env" says that a secret
// is a list, comma separated in its variable.
type Config struct {
	// Path is the file that was read; "" when there was none.
	Path string `toml:"-"`

	DataDir      string        `toml:"data_dir" path:"file"`
	Log          Log           `toml:"log"`
	Ingest       Ingest        `toml:"ingest"`
	Admin        Admin         `toml:"admin"`
	MoEngage     MoEngage      `toml:"moengage"`
	Schedule     Schedule      `toml:"schedule"`
	Retry        Retry         `toml:"retry"`
	Retention    Retention     `toml:"retention"`
	Verify       Verify        `toml:"verify"`
	Defaults     Policy        `toml:"defaults"`
	Guard        Guard         `toml:"guard"`
	Computations []Computation `toml:"computation"`

	origins map[string]origin // by full key; a key that is not in it has its default
	notes   []string          // warnings that only reading could find
	blind   bool              // read without secrets: their absence says nothing
	refused error             // see Refused

	borrowed map[string]Setting // secrets that the running agent has, see Borrow
}

// Log is how the agent writes its log.
type Log struct {
	Level  string `toml:"level" one:"debug|info|warn|error"`
	Format string `toml:"format" one:"auto|tint|text|json"`
}

// Ingest is the door that Segment posts to.
type Ingest struct {
	Listen           string `toml:"listen" path:"socket"` // host:port or unix:/path
	TLSCert          string `toml:"tls_cert" path:"file"`
	TLSKey           string `toml:"tls_key" path:"file"`
	SharedSecret     Secret `toml:"shared_secret" credential:"segment_shared_secret"`
	SharedSecretFile string `toml:"shared_secret_file" path:"file"`
	BearerToken      Secret `toml:"bearer_token" credential:"segment_bearer_token"`
	BearerTokenFile  string `toml:"bearer_token_file" path:"file"`
	WriteKeys        Secret `toml:"write_keys" credential:"segment_write_keys" env:"list"`
	WriteKeysFile    string `toml:"write_keys_file" path:"file"`
	Auth             string `toml:"auth" one:"required|off"`
	BehindProxy      bool   `toml:"behind_proxy"`
	OnDelete         string `toml:"on_delete" one:"forget|ignore"`
	MaxBodyBytes     int64  `toml:"max_body_bytes" min:"1" max:"1073741824"`
}

// Admin is the operators' side: the socket of the command line, and the status page.
type Admin struct {
	Socket    string `toml:"socket" path:"file"` // "": see Config.Socket
	Listen    string `toml:"listen"`             // "": no status page
	ShowUsers bool   `toml:"show_users"`
}

// MoEngage is where changes go, and how fast.
type MoEngage struct {
	WorkspaceID        string   `toml:"workspace_id"`
	APIKey             Secret   `toml:"api_key" credential:"moengage_api_key"`
	APIKeyFile         string   `toml:"api_key_file" path:"file"`
	DataCenter         string   `toml:"data_center" one:"01|02|03|04|05|06|101"`
	BaseURL            string   `toml:"base_url"`                    // "": that of DataCenter; see Config.BaseURL
	ForwardedFor       string   `toml:"forwarded_for"`               // "": no X-Forwarded-For
	Timeout            Duration `toml:"timeout" min:"1ms" max:"45s"` // a stop waits for it
	Concurrency        int      `toml:"concurrency" min:"1" max:"64"`
	UsersPerMinute     int      `toml:"users_per_minute" min:"1"`
	EventsPerMinute    int      `toml:"events_per_minute" min:"1"`
	CohortsPerMinute   int      `toml:"cohorts_per_minute" min:"1"`
	MaxRequestBytes    int      `toml:"max_request_bytes" min:"1000" max:"131072"`
	UpdateExistingOnly bool     `toml:"update_existing_only"`
	RealTimeAction     bool     `toml:"real_time_action"`
}

// Schedule is when changes leave, unless a computation has a schedule of its own.
type Schedule struct {
	Mode     string   `toml:"mode" one:"realtime|cron"`
	MaxDelay Duration `toml:"max_delay"`
	Cron     string   `toml:"cron"`
	Timezone string   `toml:"timezone"`
	CatchUp  string   `toml:"catch_up" one:"once|skip"`
}

// Retry is how long a failure that may pass waits for its next attempt.
type Retry struct {
	MinBackoff  Duration `toml:"min_backoff" min:"1ms"`
	MaxBackoff  Duration `toml:"max_backoff" min:"1ms"`
	MaxAttempts int      `toml:"max_attempts" min:"0"` // 0: no limit
}

// Retention is how long things stay on disk.
type Retention struct {
	Delivered     Duration `toml:"delivered"`
	Received      Duration `toml:"received"`
	ReceivedBytes int64    `toml:"received_bytes" min:"0"`
	MessageIDs    Duration `toml:"message_ids" min:"1m"` // with 0 every pass-through event would count as a replay
	Parked        Duration `toml:"parked"`               // 0: for ever
	ExMembers     Duration `toml:"ex_members"`           // 0: for ever
	MaxDataBytes  int64    `toml:"max_data_bytes" min:"0"`
}

// Guard is when too many exits of an audience at once are held for the operator to decide.
type Guard struct {
	ExitShare float64  `toml:"exit_share" min:"0" max:"1"` // 0: never
	ExitCount int      `toml:"exit_count" min:"1"`
	Window    Duration `toml:"window" min:"1s"`
}

// Verify is when a sample of each computation is read back from MoEngage unasked.
type Verify struct {
	Schedule string `toml:"schedule"` // cron spec; "": never
	Sample   int    `toml:"sample" min:"1" max:"1000000"`
}

// Policy is how the events of a computation are treated.
type Policy struct {
	Send          store.Channels `toml:"send"`
	Anonymous     string         `toml:"anonymous" one:"park|use_anonymous_id|ignore"`
	EmailOnly     string         `toml:"email_only" one:"park|use_email|ignore"`
	UnknownExit   string         `toml:"unknown_exit" one:"skip|send"`
	OnNull        string         `toml:"on_null" one:"skip|unset|empty"`
	ForwardTraits []string       `toml:"forward_traits"`
	ListAttribute string         `toml:"list_attribute"`
	MaxEventAge   Duration       `toml:"max_event_age"` // 0: off
	EnterEvent    string         `toml:"enter_event"`
	ExitEvent     string         `toml:"exit_event"`
	TraitEvent    string         `toml:"trait_event"`
	Collapse      bool           `toml:"collapse"`
}

// Computation is one [[computation]] section. It is found by ID, else by Key; where both are given the
// id decides, and the key is there for the reader. Its Policy is complete: what the section leaves out
// came from [defaults].
type Computation struct {
	Key string `toml:"key"`
	ID  string `toml:"id"`
	Policy
	Attribute  string `toml:"attribute"` // "": the computation's key
	CohortName string `toml:"cohort_name"`
	Schedule   string `toml:"schedule"` // "": [schedule]
	Guard      bool   `toml:"guard"`    // false: [guard] does not watch it
}

// Name is what the section calls its computation: the id, else the key. No two sections share one.
// It is also the name of the job of a section with its own schedule.
func (c *Computation) Name() string {
	if c.ID != "" {
		return c.ID
	}
	return c.Key
}

// Default returns the configuration of an agent that was told nothing.
func Default() *Config {
	return &Config{
		DataDir: "/var/lib/personasync",
		Log:     Log{Level: "info", Format: "auto"},
		Ingest: Ingest{
			Listen:       "127.0.0.1:8480",
			Auth:         "required",
			OnDelete:     "forget",
			MaxBodyBytes: 8 << 20,
		},
		Admin: Admin{Listen: "127.0.0.1:8481"},
		MoEngage: MoEngage{
			DataCenter:  "01",
			Timeout:     Duration{30 * time.Second},
			Concurrency: 4,
			// The lower of the limits that MoEngage's pages give; the newest allow 60,000 of each.
			UsersPerMinute:  10_000,
			EventsPerMinute: 30_000,
			// Requests of Cohort Sync, of thousands of users each.
			CohortsPerMinute: 300,
			MaxRequestBytes:  100_000, // "100 KB" in MoEngage's words, read the careful way
		},
		Schedule: Schedule{
			Mode:     "realtime",
			MaxDelay: Duration{time.Second},
			Cron:     "*/5 * * * *",
			Timezone: "UTC",
			CatchUp:  "once",
		},
		Retry: Retry{MinBackoff: Duration{time.Second}, MaxBackoff: Duration{5 * time.Minute}},
		Retention: Retention{
			Delivered:     Duration{72 * time.Hour},
			Received:      Duration{24 * time.Hour},
			ReceivedBytes: 1 << 30,
			MessageIDs:    Duration{48 * time.Hour},
			Parked:        Duration{720 * time.Hour},
		},
		Guard:  Guard{ExitShare: 0.3, ExitCount: 1000, Window: Duration{time.Hour}},
		Verify: Verify{Sample: 1000},
		Defaults: Policy{
			Send:          store.SendAsReceived,
			Anonymous:     "park",
			EmailOnly:     "park",
			UnknownExit:   "skip",
			OnNull:        "skip",
			ListAttribute: "segment_audiences",
			EnterEvent:    "Audience Entered",
			ExitEvent:     "Audience Exited",
			TraitEvent:    "Trait Computed",
			Collapse:      true,
		},
	}
}

// BaseURL is where MoEngage's API answers, without a slash at the end.
func (c *Config) BaseURL() string {
	if c.MoEngage.BaseURL != "" {
		return strings.TrimRight(c.MoEngage.BaseURL, "/")
	}
	return "https://api-" + c.MoEngage.DataCenter + ".moengage.com"
}

// Socket is the path of the operators' socket: admin.socket, else admin.sock in the runtime folder
// that systemd made, else in the data directory.
func (c *Config) Socket(getenv func(string) string) string {
	if c.Admin.Socket != "" {
		return c.Admin.Socket
	}
	dir := c.DataDir
	// RuntimeDirectory= of a unit may name several folders, separated by colons.
	if runtime, _, _ := strings.Cut(getenv("RUNTIME_DIRECTORY"), ":"); runtime != "" {
		dir = runtime
	}
	return filepath.Join(dir, "admin.sock")
}

// Location is the zone of every cron spec.
func (c *Config) Location() *time.Location {
	zone, err := time.LoadLocation(c.Schedule.Timezone)
	if err != nil {
		return time.UTC // only in a Config that Load did not make
	}
	return zone
}
