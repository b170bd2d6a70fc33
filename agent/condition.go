package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"personasync/store/domain"
)

// A Condition is something that an operator should know of, and can do something about. Its name is
// the outside's: status, the status page, doctor, metrics, alerts and the runbook call it the same.
type Condition struct {
	Name     string   `json:"name"`
	Severity string   `json:"severity"` // critical | warning | info
	Text     string   `json:"text"`     // what happened, to what, and what that costs
	Commands []string `json:"commands"` // what to type, each whole
	Since    string   `json:"since"`    // RFC 3339; "" where nobody knows
}

// Severities, by what is lost if nobody acts: events or correct memberships; nothing yet; nothing.
const (
	critical = "critical"
	warning  = "warning"
	info     = "info"
)

// facts are what the conditions are judged by: one moment of an agent, or of a stopped one's files.
type facts struct {
	now          time.Time
	status       *Status
	heard        domain.Heard
	oldest       map[string]time.Time // receipt of the oldest pending change of each job
	process      Process
	computations []domain.ComputationInfo
}

// conditionKind is a line of the list of conditions. judge returns nil where a fact does not hold.
type conditionKind struct {
	name       string
	severities []string // that it can have
	check      string   // of the doctor
	judge      func(f *facts) *Condition
}

// conditionKinds is the list, in the order in which an operator should look at what is equally severe. Each
// has a page in docs/operating.md and an alert in packaging/prometheus, and tests hold the names together.
var conditionKinds = []conditionKind{
	{conditionNotRunning, []string{critical}, "agent", (*facts).notRunning},
	{conditionUnreadable, []string{critical}, "data", nil}, // there are no facts then: see readings.conditions
	{"socket_missing", []string{critical}, "socket", (*facts).socketMissing},
	{conditionSocketLost, []string{critical, warning}, "socket", (*facts).socketLost},
	{"data_moved", []string{critical}, "data", (*facts).dataMoved},
	{"not_ready", []string{critical}, "agent", (*facts).notReady},
	{"intake_refused", []string{critical, warning}, "intake", (*facts).intakeRefused},
	{"intake_ignored", []string{critical, warning}, "intake", (*facts).intakeIgnored},
	{"intake_deferred", []string{critical, warning}, "intake", (*facts).intakeDeferred},
	{"no_event_yet", []string{warning}, "intake", (*facts).noEventYet},
	{"nothing_received", []string{warning}, "intake", (*facts).nothingReceived},
	{"computation_silent", []string{info}, "intake", (*facts).computationSilent},
	{"moengage_refusing", []string{critical}, "delivery", (*facts).moengageRefusing},
	{"moengage_failing", []string{warning}, "delivery", (*facts).moengageFailing},
	{"lag", []string{critical}, "outbox", (*facts).lag},
	{"behind", []string{warning}, "outbox", (*facts).behind},
	{"disk", []string{critical, warning}, "disk", (*facts).disk},
	{"ledger", []string{critical}, "data", (*facts).unbalanced},
	{"damage", []string{critical, warning}, "data", (*facts).damage},
	{"config_refused", []string{warning}, "config", (*facts).configRefused},
	{"key_conflict", []string{warning}, "outbox", (*facts).keyConflict},
	{"held", []string{warning}, "outbox", (*facts).held},
	{"parked", []string{warning}, "outbox", (*facts).parked},
	{"verify_differs", []string{warning, info}, "verify", (*facts).verifyDiffers},
	{"verify_impossible", []string{warning, info}, "verify", (*facts).verifyImpossible},
	{"job_failed", []string{warning}, "jobs", (*facts).jobFailed},
	{"runs_missed", []string{warning}, "jobs", (*facts).runsMissed},
	{"clock", []string{warning}, "clock", (*facts).clock},
	{"log_dropped", []string{info}, "log", (*facts).logDropped},
}

const (
	// slow is how long the oldest change may wait before somebody should know, where changes leave as
	// they come.
	slow = 15 * time.Minute
	// diskSoon is when the end of the disk is worth a warning.
	diskSoon = 48 * time.Hour
	// behind is how many records not applied are more than a busy moment.
	behind = 200_000
)

// conditionUnreadable holds where the store gives no answer, so that nothing can be judged.
const conditionUnreadable = "store_unreadable"

const (
	conditionNotRunning = "not_running"
	conditionSocketLost = "socket_lost"
)

// judge lists the conditions that hold, the most severe first. It is a pure function of its facts.
func (f *facts) judge() []Condition {
	list := []Condition{}
	for _, k := range conditionKinds {
		if k.judge == nil {
			continue
		}
		if c := k.judge(f); c != nil {
			c.Name, c.Commands = k.name, whole(c.Commands)
			list = append(list, *c)
		}
	}
	weight := []string{critical, warning, info}
	slices.SortStableFunc(list, func(a, b Condition) int {
		return cmp.Compare(slices.Index(weight, a.Severity), slices.Index(weight, b.Severity))
	})
	return list
}

func condition(severity, since string, commands []string, text string, args ...any) *Condition {
	return &Condition{Severity: severity, Since: since, Commands: commands, Text: strings.TrimSpace(fmt.Sprintf(text, args...))}
}

// running reports whether the facts are a running agent's own.
func (f *facts) running() bool { return !f.process.Started.IsZero() }
