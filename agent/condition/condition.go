package condition

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Condition is something that an operator should know of and can act on. Its name is part of the contract: status, the
// status page, doctor, metrics, alerts and the runbook use the same one.
type Condition struct {
	Name     string   `json:"name"`
	Severity string   `json:"severity"` // critical | warning | info
	Text     string   `json:"text"`     // what happened, to what, and what that costs
	Commands []string `json:"commands"` // what to type, each whole
	Since    string   `json:"since"`    // RFC 3339; "" if unknown

	Lost   string `json:"lost"`      // the loss while it holds, or that there is none: a sentence
	Itself string `json:"by_itself"` // what happens if nobody does anything: a sentence
	Next   string `json:"next"`      // when that happens next, RFC 3339; "" if unknown
}

// Severities, by the loss if nobody acts: events or correct memberships; nothing yet; nothing at all.
const (
	Critical = "critical"
	warning  = "warning"
	info     = "info"
)

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

// BackupDue holds while the last scheduled backup failed, or is overdue.
const BackupDue = "backup"

// ConfigRefused holds while the newest configuration of an agent was refused.
const ConfigRefused = "config_refused"

// OtherWorkspace holds while an agent would send to another workspace of MoEngage than its store was sent to.
const OtherWorkspace = "other_workspace"

// NoWriter holds while several agents share the store and none writes.
const NoWriter = "no_writer"

// The names of conditions that the doctor finds by itself.
const (
	NotRunning = "not_running"
	SocketLost = "socket_lost"
)

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
