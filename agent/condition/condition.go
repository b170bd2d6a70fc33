package condition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"personasync/store/domain"
)

// A Condition is something that an operator should know of and can act on. Its name is part of the contract: status, the
// status page, doctor, metrics, alerts and the runbook use the same one.
type Condition struct {
	Name     string   `json:"name"`
	Severity string   `json:"severity"` // critical | warning | info
	Text     string   `json:"text"`     // what happened, to what, and what that costs
	Commands []string `json:"commands"` // what to type, each whole
	Since    string   `json:"since"`    // RFC 3339; "" if unknown

	Lost   string `json:"lost"`      // what is lost while it holds, or that nothing is: a sentence
	Itself string `json:"by_itself"` // what happens if nobody does anything: a sentence
	Next   string `json:"next"`      // when that happens next, RFC 3339; "" if unknown
}

// Severities, by the loss if nobody acts: events or correct memberships; nothing yet; nothing at all.
const (
	Critical = "critical"
	warning  = "warning"
	info     = "info"
)

// Facts are the values that conditions are judged by: one moment of an agent, or of the files of a stopped one.
type Facts struct {
	Now          time.Time
	Status       *Status
	Heard        domain.Heard
	Oldest       map[string]time.Time // receipt of the oldest pending change of each job
	Process      Process
	Computations []domain.ComputationInfo
}

// Kind is a line of the list of conditions. judge returns nil where a fact does not hold.
type Kind struct {
	Name       string
	Severities []string // that it can have
	Check      string   // of the doctor
	judge      func(f *Facts) *Condition
}

// Kinds lists every condition, in the order in which an operator should look at equally severe ones. Each has a section in
// docs/operating.md and an alert in packaging/prometheus. Tests compare the names.
var Kinds = []Kind{
	{NotRunning, []string{Critical}, "agent", (*Facts).notRunning},
	{Unreadable, []string{Critical}, "data", nil}, // without an answer there are no facts; the metrics set it
	{"socket_missing", []string{Critical}, "socket", (*Facts).socketMissing},
	{SocketLost, []string{Critical, warning}, "socket", (*Facts).socketLost},
	{"data_moved", []string{Critical}, "data", (*Facts).dataMoved},
	{"not_ready", []string{Critical}, "agent", (*Facts).notReady},
	{"intake_refused", []string{Critical, warning}, "intake", (*Facts).intakeRefused},
	{"intake_ignored", []string{Critical, warning}, "intake", (*Facts).intakeIgnored},
	{"intake_deferred", []string{Critical, warning}, "intake", (*Facts).intakeDeferred},
	{"no_event_yet", []string{warning}, "intake", (*Facts).noEventYet},
	{"nothing_received", []string{warning}, "intake", (*Facts).nothingReceived},
	{"computation_silent", []string{info}, "intake", (*Facts).computationSilent},
	{"paused", []string{warning}, "delivery", (*Facts).paused},
	{"moengage_refusing", []string{Critical}, "delivery", (*Facts).moengageRefusing},
	{"moengage_failing", []string{warning}, "delivery", (*Facts).moengageFailing},
	{"lag", []string{Critical}, "outbox", (*Facts).lag},
	{"behind", []string{warning}, "outbox", (*Facts).behind},
	{"disk", []string{Critical, warning}, "disk", (*Facts).disk},
	{"ledger", []string{Critical}, "data", (*Facts).unbalanced},
	{"damage", []string{Critical, warning}, "data", (*Facts).damage},
	{"config_refused", []string{warning}, "config", (*Facts).configRefused},
	{"key_conflict", []string{warning}, "outbox", (*Facts).keyConflict},
	{"held", []string{warning}, "outbox", (*Facts).held},
	{"parked", []string{warning}, "outbox", (*Facts).parked},
	{"deletions", []string{warning}, "outbox", (*Facts).deletions},
	{"verify_differs", []string{warning, info}, "verify", (*Facts).verifyDiffers},
	{"verify_impossible", []string{warning, info}, "verify", (*Facts).verifyImpossible},
	{"backup", []string{warning}, "backup", (*Facts).backup},
	{"job_failed", []string{warning}, "jobs", (*Facts).jobFailed},
	{"runs_missed", []string{warning}, "jobs", (*Facts).runsMissed},
	{"clock", []string{warning}, "clock", (*Facts).clock},
	{NotifyFailing, []string{warning}, "notify", (*Facts).notifyFailing},
	{"log_dropped", []string{info}, "log", (*Facts).logDropped},
}

const (
	// slow is how long the oldest change may wait, in real time, before it is a condition.
	slow = 15 * time.Minute
	// diskSoon is how long before the disk is full it is a condition.
	diskSoon = 48 * time.Hour
	// behind is a number of unapplied records that a busy moment does not reach.
	behind = 200_000
)

// Unreadable holds if the store gives no answer, so that nothing else can be judged.
const Unreadable = "store_unreadable"

// NotifyFailing holds while a receiver of notifications takes none.
const NotifyFailing = "notify_failing"

// The names of conditions that the doctor finds by itself.
const (
	NotRunning = "not_running"
	SocketLost = "socket_lost"
)

// Judge lists the conditions that hold, the most severe first. It is a pure function of its facts.
func (f *Facts) Judge() []Condition {
	list := []Condition{}
	for _, k := range Kinds {
		if k.judge == nil {
			continue
		}
		if c := k.judge(f); c != nil {
			c.Name, c.Commands = k.Name, Whole(c.Commands)
			list = append(list, c.Costed())
		}
	}
	slices.SortStableFunc(list, func(a, b Condition) int { return cmp.Compare(Weight(b.Severity), Weight(a.Severity)) })
	return list
}

// Weight orders severities: the graver, the greater.
func Weight(severity string) int {
	return slices.Index([]string{info, warning, Critical}, severity)
}

func condition(severity, since string, commands []string, text string, args ...any) *Condition {
	return &Condition{Severity: severity, Since: since, Commands: commands, Text: strings.TrimSpace(fmt.Sprintf(text, args...))}
}

// within adds to a condition what its judgement knows of its cost. Empty sentences are those of costs.
func (c *Condition) within(lost, itself, next string) *Condition {
	c.Lost, c.Itself, c.Next = lost, itself, next
	return c
}

// running reports whether the facts are a running agent's own.
func (f *Facts) running() bool { return !f.Process.Started.IsZero() }
