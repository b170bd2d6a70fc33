package condition

import (
	"cmp"
	"slices"
)

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
	{NoWriter, []string{Critical}, "store", (*Facts).noWriter},
	{OtherWorkspace, []string{Critical, warning}, "store", (*Facts).otherWorkspace},
	{"no_standby", []string{Critical}, "store", (*Facts).noStandby},
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
	{"old_transaction", []string{warning}, "store", (*Facts).oldTransaction},
	{"ledger", []string{Critical}, "data", (*Facts).unbalanced},
	{"damage", []string{Critical, warning}, "data", (*Facts).damage},
	{ConfigRefused, []string{warning}, "config", (*Facts).configRefused},
	{"key_conflict", []string{warning}, "outbox", (*Facts).keyConflict},
	{"held", []string{warning}, "outbox", (*Facts).held},
	{"parked", []string{warning}, "outbox", (*Facts).parked},
	{"deletions", []string{warning}, "outbox", (*Facts).deletions},
	{"verify_differs", []string{warning, info}, "verify", (*Facts).verifyDiffers},
	{"verify_impossible", []string{warning, info}, "verify", (*Facts).verifyImpossible},
	{BackupDue, []string{warning}, "backup", (*Facts).backup},
	{"job_failed", []string{warning}, "jobs", (*Facts).jobFailed},
	{"runs_missed", []string{warning}, "jobs", (*Facts).runsMissed},
	{"clock", []string{warning}, "clock", (*Facts).clock},
	{NotifyFailing, []string{warning}, "notify", (*Facts).notifyFailing},
	{"log_dropped", []string{info}, "log", (*Facts).logDropped},
}

// own are the conditions that each of several agents that share a store has for itself, or must be able to tell of. All
// others are facts of the store, which are the writer's to tell, so that as many people are woken as with one agent.
var own = []string{Unreadable, "socket_missing", SocketLost, "not_ready", NoWriter, OtherWorkspace, "intake_refused", "intake_deferred", ConfigRefused, "clock", "log_dropped"}

// OfDoor reports whether an agent that receives for the writer tells of a condition.
func OfDoor(name string) bool { return slices.Contains(own, name) }

// Judge lists the conditions that hold, the most severe first. It is a pure function of its facts.
func (f *Facts) Judge() []Condition {
	list := []Condition{}
	for _, k := range Kinds {
		if k.judge == nil {
			continue
		}
		if c := k.judge(f); c != nil {
			c.Name, c.Commands = k.Name, Whole(f.Process.Runner.commands(c.Commands))
			list = append(list, c.costed())
		}
	}
	slices.SortStableFunc(list, func(a, b Condition) int { return cmp.Compare(Weight(b.Severity), Weight(a.Severity)) })
	return list
}
