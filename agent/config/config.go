// Package config loads agent.toml. It finds the file, applies environment variables and secret files, and
// reports all faults at once.
//
// [Load] returns a valid [Config]: every value is in range, paths are resolved, and every computation has a
// complete policy. Otherwise it returns [*Faults] with one [Fault] for each mistake: its key, value and place.
// [Config.Warnings] lists values that are allowed but probably not intended. [Config.Complete] lists the
// settings that a running agent still needs.
//
// Later sources override earlier ones: defaults, agent.toml, environment. A variable is named
// PERSONASYNC_SECTION_KEY and separates list items with commas. A variable set to "" counts as set: it empties
// a text and is a fault for a number. A secret is given once: in agent.toml, in a file named there, or as a
// systemd credential. The environment overrides all three. Relative paths start at the directory of agent.toml,
// wherever they were given.
//
// The package only reads files. It does not log, open sockets or read the clock.
package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"personasync/agent/config/internal/field"
	"personasync/store/domain"
)

// Config is the configuration of one agent. Its tags are the names in agent.toml. It is not changed after
// loading, so it is safe for concurrent reads.
//
// Further tags restrict values, and [Load] enforces them. "one" lists the allowed words. "min" and "max" limit
// a number or a duration. "path" marks a path that is resolved against the file's directory. "credential" names
// the systemd credential that may supply a secret. "table" marks a secret that may be a table. "env" marks a secret that is a list, comma-separated in its
// variable.
type Config struct {
	// Path is the file that was read, or "".
	Path string `toml:"-"`

	Data
	Log       Log       `toml:"log"`
	Ingest    Ingest    `toml:"ingest"`
	Admin     Admin     `toml:"admin"`
	MoEngage  MoEngage  `toml:"moengage"`
	Schedule  Schedule  `toml:"schedule"`
	Retry     Retry     `toml:"retry"`
	Retention Retention `toml:"retention"`
	History   History   `toml:"history"`
	Upkeep
	Defaults     Policy        `toml:"defaults"`
	Guard        Guard         `toml:"guard"`
	Computations []Computation `toml:"computation"`

	provenance
}

// provenance is how a configuration was read.
type provenance struct {
	origins  map[string]origin          // by full key; a missing key has its default
	notes    []string                   // warnings found while reading
	blind    bool                       // loaded without secrets, so a missing one means nothing
	refused  error                      // see Refused
	borrowed map[string]Setting         // secrets known from the running agent, see Borrow
	lists    map[string]domain.UserList // users that files name, by path
}

// Log is how the agent writes its log.
type Log struct {
	Level  string `toml:"level" one:"debug|info|warn|error"`
	Format string `toml:"format" one:"auto|tint|text|json"`
}

// Ingest configures the HTTP endpoint that Segment posts to.
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

// Admin configures the socket of the command line and the status page.
type Admin struct {
	Socket    string `toml:"socket" path:"file"` // "": see Config.Socket
	Listen    string `toml:"listen"`             // "": no status page
	ShowUsers bool   `toml:"show_users"`
}

// MoEngage configures the destination and its rate limits. Its fields are the keys of one section.
type MoEngage struct {
	WorkspaceID        string   `toml:"workspace_id"`
	Replaces           string   `toml:"replaces_workspace_id"` // in whose place WorkspaceID comes, as Config.Workspace names it
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
	Deletes
}

// Deletes decides whether users whom Segment or an operator deletes are deleted at MoEngage, too.
type Deletes struct {
	DeleteUsers      bool `toml:"delete_users"`
	MaxDeletesPerDay int  `toml:"max_deletes_per_day" min:"0" max:"1000000000"` // more are held
}

// Schedule is when changes are sent, unless a computation has its own schedule.
type Schedule struct {
	Mode     string   `toml:"mode" one:"realtime|cron"`
	MaxDelay Duration `toml:"max_delay"`
	Cron     string   `toml:"cron"`
	Timezone string   `toml:"timezone"`
	CatchUp  string   `toml:"catch_up" one:"once|skip"`
}

// Retry configures the backoff after a temporary failure.
type Retry struct {
	MinBackoff  Duration `toml:"min_backoff" min:"1ms"`
	MaxBackoff  Duration `toml:"max_backoff" min:"1ms"`
	MaxAttempts int      `toml:"max_attempts" min:"0"` // 0: no limit
}

// Retention is how long data is kept on disk.
type Retention struct {
	Delivered     Duration `toml:"delivered"`
	Received      Duration `toml:"received"`
	ReceivedBytes int64    `toml:"received_bytes" min:"0"`
	MessageIDs    Duration `toml:"message_ids" min:"1m"` // with 0 every pass-through event would count as a replay
	Parked        Duration `toml:"parked"`               // 0: forever
	ExMembers     Duration `toml:"ex_members"`           // 0: forever
	MaxDataBytes  int64    `toml:"max_data_bytes" min:"0"`
}

// History is how long enters and exits of audiences are kept, with their causes.
type History struct {
	Keep     Duration `toml:"keep"` // 0: they are not written down
	MaxBytes int64    `toml:"max_bytes" min:"0"`
}

// Guard decides how many exits of an audience at once are held for the operator to confirm.
type Guard struct {
	ExitShare float64  `toml:"exit_share" min:"0" max:"1"` // 0: never
	ExitCount int      `toml:"exit_count" min:"1"`
	Window    Duration `toml:"window" min:"1s"`
}

// Verify schedules reading back a sample of each computation from MoEngage.
type Verify struct {
	Schedule string `toml:"schedule"` // cron spec; "": never
	Sample   int    `toml:"sample" min:"1" max:"1000000"`
}

// Upkeep has the sections of what the agent does beside its work: verify, back up, tell people.
type Upkeep struct {
	Verify Verify `toml:"verify"`
	Backup Backup `toml:"backup"`
	Notify Notify `toml:"notify"`
}

// Backup schedules backups, each of which is proven by a restore.
type Backup struct {
	Schedule string `toml:"schedule"` // cron spec; "": never
	Dir      string `toml:"dir" path:"file"`
	Keep     int    `toml:"keep" min:"1" max:"10000"`
}

// Notify has the receivers of conditions, and the heartbeat. Addresses are secrets, because their paths are.
type Notify struct {
	URL              Secret   `toml:"url" credential:"notify_url"`
	URLFile          string   `toml:"url_file" path:"file"`
	Headers          Secret   `toml:"headers" credential:"notify_headers" table:"header"` // each "Name: value"
	HeadersFile      string   `toml:"headers_file" path:"file"`
	Format           string   `toml:"format" one:"json|teams|pagerduty"`
	RoutingKey       Secret   `toml:"routing_key" credential:"notify_routing_key"`
	RoutingKeyFile   string   `toml:"routing_key_file" path:"file"`
	Command          []string `toml:"command"`
	After            Duration `toml:"after" min:"0s" max:"24h"`
	HeartbeatURL     Secret   `toml:"heartbeat_url" credential:"notify_heartbeat_url"`
	HeartbeatURLFile string   `toml:"heartbeat_url_file" path:"file"`
	HeartbeatEvery   Duration `toml:"heartbeat_every" min:"1s" max:"24h"`
	HeartbeatLag     Duration `toml:"heartbeat_lag" min:"1s"`
}

// Policy is how events of a computation are treated. Its fields are the keys of one section.
type Policy struct {
	Send          domain.SendMethods `toml:"send"`
	Anonymous     string             `toml:"anonymous" one:"park|use_anonymous_id|ignore"`
	EmailOnly     string             `toml:"email_only" one:"park|use_email|ignore"`
	UnknownExit   string             `toml:"unknown_exit" one:"skip|send"`
	OnNull        string             `toml:"on_null" one:"skip|unset|empty"`
	ForwardTraits []string           `toml:"forward_traits"`
	ListAttribute string             `toml:"list_attribute"`
	MaxEventAge   Duration           `toml:"max_event_age"` // 0: off
	EnterEvent    string             `toml:"enter_event"`
	ExitEvent     string             `toml:"exit_event"`
	TraitEvent    string             `toml:"trait_event"`
	Collapse      bool               `toml:"collapse"`
	Consent       []string           `toml:"consent"`
	OnlyUsersFile string             `toml:"only_users_file" path:"file"`
	Share         float64            `toml:"share" min:"0" max:"1"`
	Holdout       float64            `toml:"holdout" min:"0" max:"1"`
}

// Computation is one [[computation]] section. It applies to the computation with this ID, or with this Key if
// ID is empty. If both are set, Key is only a comment. Its Policy is complete: keys missing in the section have
// the value of [defaults].
type Computation struct {
	Key string `toml:"key"`
	ID  string `toml:"id"`
	Policy
	Attribute  string `toml:"attribute"` // "": the computation's key
	CohortName string `toml:"cohort_name"`
	Schedule   string `toml:"schedule"` // "": [schedule]
	Guard      bool   `toml:"guard"`    // false exempts it from [guard]
}

// Name identifies the section: its id, or else its key. It is unique. It also names the job of a section with
// its own schedule.
func (c *Computation) Name() string { return cmp.Or(c.ID, c.Key) }

// Setting is one key with its effective value.
type Setting struct {
	Key   string `json:"key"`   // "log.level", "computation.vip.send"
	Value string `json:"value"` // as TOML; for a secret only whether it is set
	// Origin is "default", "agent.toml:12" with the path as given, or "env NAME". For a secret it may also be
	// "file PATH" or "credential NAME".
	Origin    string `json:"origin"`
	Secret    bool   `json:"secret,omitempty"`
	Inherited bool   `json:"inherited,omitempty"` // inherited by a computation from [defaults]
}

// origin is where a value came from. The zero origin is the default.
type origin struct {
	kind originKind
	name string // of the file, variable or credential
	line int
}

// originKind is the sort of place that a value came from.
type originKind uint8

const (
	fromDefault originKind = iota
	fromFile
	fromEnv
	fromSecretFile
	fromCredential
	fromSystemd
)

// String returns the origin in the form of Setting.Origin.
func (o origin) String() string {
	switch o.kind {
	case fromFile:
		return fmt.Sprintf("%s:%d", o.name, o.line)
	case fromEnv:
		return "env " + o.name
	case fromSecretFile:
		return "file " + o.name
	case fromCredential:
		return "credential " + o.name
	case fromSystemd:
		return "the socket unit of systemd"
	}
	return "default"
}

// Default returns the configuration without a file or environment.
func Default() *Config {
	return &Config{
		Data: Data{
			DataDir: "/var/lib/personasync",
			Store:   Store{Engine: "bbolt", Schema: "personasync", Term: lasting(5 * time.Second), Replicated: "standby"},
		},
		Log: Log{Level: "info", Format: "auto"},
		Ingest: Ingest{
			Listen:       "127.0.0.1:8480",
			Auth:         "required",
			OnDelete:     "forget",
			MaxBodyBytes: 8 << 20,
		},
		Admin: Admin{Listen: "127.0.0.1:8481"},
		MoEngage: MoEngage{
			DataCenter:  "01",
			Timeout:     lasting(30 * time.Second),
			Concurrency: 4,
			// The lower of the limits on MoEngage's pages. The newest pages allow 60,000 of each.
			UsersPerMinute:  10_000,
			EventsPerMinute: 30_000,
			// Requests of Cohort Sync, each for thousands of users.
			CohortsPerMinute: 300,
			MaxRequestBytes:  100_000, // MoEngage says "100 KB"; this is the smaller reading
			Deletes:          Deletes{MaxDeletesPerDay: 100},
		},
		Schedule: Schedule{
			Mode:     "realtime",
			MaxDelay: lasting(time.Second),
			Cron:     "*/5 * * * *",
			Timezone: "UTC",
			CatchUp:  "once",
		},
		Retry: Retry{MinBackoff: lasting(time.Second), MaxBackoff: lasting(5 * time.Minute)},
		Retention: Retention{
			Delivered:     lasting(72 * time.Hour),
			Received:      lasting(24 * time.Hour),
			ReceivedBytes: 1 << 30,
			MessageIDs:    lasting(48 * time.Hour),
			Parked:        lasting(720 * time.Hour),
		},
		History: History{Keep: lasting(400 * 24 * time.Hour), MaxBytes: 1 << 30},
		Guard:   Guard{ExitShare: 0.3, ExitCount: 1000, Window: lasting(time.Hour)},
		Upkeep: Upkeep{
			Verify: Verify{Sample: 1000},
			Backup: Backup{Keep: 7},
			Notify: Notify{
				Format: "json", After: lasting(2 * time.Minute),
				HeartbeatEvery: lasting(time.Minute), HeartbeatLag: lasting(15 * time.Minute),
			},
		},
		Defaults: Policy{
			Send:          domain.SendAsReceived,
			Anonymous:     "park",
			EmailOnly:     "park",
			UnknownExit:   "skip",
			OnNull:        "skip",
			ListAttribute: "segment_audiences",
			EnterEvent:    "Audience Entered",
			ExitEvent:     "Audience Exited",
			TraitEvent:    "Trait Computed",
			Collapse:      true,
			Share:         1,
		},
	}
}

// BaseURL returns the address of MoEngage's API without a trailing slash.
func (c *Config) BaseURL() string {
	if c.MoEngage.BaseURL != "" {
		return strings.TrimRight(c.MoEngage.BaseURL, "/")
	}
	return "https://api-" + c.MoEngage.DataCenter + ".moengage.com"
}

// overHTTP tells what stands in MoEngage's place from MoEngage, which has HTTPS alone: what a sandbox was told under the id of a
// workspace, the workspace does not know.
const overHTTP = " over http"

// Workspace returns the workspace that changes go to.
func (c *Config) Workspace() domain.Workspace {
	w := domain.Workspace{ID: c.MoEngage.WorkspaceID, Replaces: c.MoEngage.Replaces}
	if w.ID != "" && strings.HasPrefix(c.MoEngage.BaseURL, "http:") {
		w.ID += overHTTP
	}
	return w
}

// Socket returns the path of the admin socket: admin.socket, or else admin.sock in systemd's runtime directory,
// or else in the data directory.
func (c *Config) Socket(getenv func(string) string) string {
	if c.Admin.Socket != "" {
		return c.Admin.Socket
	}
	dir := c.DataDir
	// RUNTIME_DIRECTORY may list several directories, separated by colons.
	if runtime, _, _ := strings.Cut(getenv("RUNTIME_DIRECTORY"), ":"); runtime != "" {
		dir = runtime
	}
	return filepath.Join(dir, "admin.sock")
}

// Location returns the time zone of all cron specs.
func (c *Config) Location() *time.Location {
	zone, err := time.LoadLocation(c.Schedule.Timezone)
	if err != nil {
		return time.UTC // only for a Config not made by Load
	}
	return zone
}

// Secret is a secret and its predecessors. The first value is current; the others are still accepted during rotation. Nil
// means not set. It never prints its values: convert it to []string to use them, and keep it in exported fields, because
// package fmt prints unexported ones without their methods.
type Secret = field.Secret

// Duration is a time.Duration that is written as "72h", "1m30s" or "0s".
type Duration = field.Duration

func lasting(d time.Duration) Duration { return Duration{Duration: d} }

// Keys that the checks name. Their first definition is the tag in [Config].
const (
	keyDataDir      = "data_dir"
	keyStoreURL     = "store.url"
	keyIngestListen = "ingest.listen"
	keyTLSCert      = "ingest.tls_cert"
	keyTLSKey       = "ingest.tls_key"
	keyAdminSocket  = "admin.socket"
	keyAdminListen  = "admin.listen"
	keyBaseURL      = "moengage.base_url"
	keyBackupDir    = "backup.dir"
	keyNotifyURL    = "notify.url"
	keyHeaders      = "notify.headers"
	keyRoutingKey   = "notify.routing_key"
	keyHeartbeatURL = "notify.heartbeat_url"
)

// everyField lists the keys of a whole configuration, those of a [[computation]] last.
func everyField() []field.Field {
	return slices.Concat(field.Of(&Config{}, ""), field.Of(&Computation{}, ""))
}
