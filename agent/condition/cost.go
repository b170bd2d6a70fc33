package condition

import "cmp"

// cost is what a condition costs while it holds, and what happens if nobody does anything. Both are sentences.
type cost struct{ lost, itself string }

// segmentRepeats is the cost of refusing events for a time.
const segmentRepeats = "Nothing yet. Segment sends the events again for about four hours, then it discards them."

// decide is what becomes of changes that are held.
const decide = "Nothing: they are held until you decide."

// costs has every condition. A judgement that knows more fills in its own sentences.
var costs = map[string]cost{
	NotRunning:           {segmentRepeats, "Nothing, unless the service manager starts the agent again."},
	Unreadable:           {"Unknown until the files are checked.", "Nothing."},
	"socket_missing":     {segmentRepeats, "Nothing, until systemd passes the socket."},
	SocketLost:           {segmentRepeats, "The agent makes its socket again within a second once the name is free."},
	"data_moved":         {segmentRepeats, "The agent goes on within a second once the files are back."},
	"not_ready":          {segmentRepeats, "Events are accepted again once the cause is gone."},
	NoWriter:             {"Nothing. Events are kept, and MoEngage learns of them late.", "An agent takes over once one can."},
	OtherWorkspace:       {"Nothing, as long as another agent writes.", "Nothing: it never takes over."},
	"no_standby":         {"Nothing yet. With the host of PostgreSQL, all that was answered with 200 and is on no standby is lost.", "It ends once a standby confirms commits."},
	"old_transaction":    {"Nothing.", "It ends with that transaction."},
	"intake_refused":     {"The refused events: Segment discards them.", "Nothing. It ends a quarter of an hour after the last refusal, once deliveries are accepted."},
	"intake_ignored":     {"Memberships: nothing is applied of these events.", "Nothing."},
	"intake_deferred":    {segmentRepeats, "Segment sends the events again. Once they are accepted, none is missing."},
	"no_event_yet":       {"Nothing is known to be lost.", "It ends with the first event."},
	"nothing_received":   {"Perhaps events: Segment discards what it cannot deliver for about four hours.", "It ends with the next event."},
	"computation_silent": {"Perhaps changes of these computations.", "It ends with their next event."},
	"paused":             {"Nothing. Events and changes are kept.", "Nothing: the pause has no end."},
	"moengage_refusing":  {"Nothing. Changes are kept, and leave in order.", "One request a minute tries whether it is over."},
	"moengage_failing":   {"Nothing. Changes are kept, and leave in order.", "Requests are tried again, and all changes leave once MoEngage takes one."},
	"lag":                {"Nothing. MoEngage learns of memberships late.", "Changes leave as fast as MoEngage takes them."},
	"behind":             {"Nothing. The events are on disk, and memberships lag.", "The events are applied in their order."},
	"disk":               {segmentRepeats, "Events are accepted as long as there is room, and again once there is."},
	"ledger":             {"Unknown: something was lost or counted twice.", "Nothing."},
	"damage":             {"Memberships among the lost rows are wrong until their users' next events.", "Nothing. The report ends when the damaged file is removed."},
	"config_refused":     {"Nothing. The configuration before it is in force until the next restart, which would fail, unless the new one only needs a restart.", "Nothing."},
	"key_conflict":       {"Nothing. The changes are held.", decide},
	"held":               {"Nothing. The changes are held, and other changes leave.", decide},
	"parked":             {"Nothing yet. They are kept until you decide, for 30 days unless retention.parked says otherwise.", "Nothing, until they expire."},
	"deletions":          {"Nothing. The users are erased here, and stay at MoEngage.", "Nothing, where they are held, refused or turned off; else they are deleted once MoEngage takes a request."},
	"verify_differs":     {"Memberships: MoEngage does not hold what it accepted.", "The next verification reads them back again, and repairs nothing."},
	"verify_impossible":  {"Nothing is known to be lost.", "The next verification tries again."},
	"job_failed":         {"Nothing. The work is left for the next run.", "It runs again at its next time."},
	"runs_missed":        {"Nothing. Changes leave with the next run.", "It ends an hour after the last missed run."},
	BackupDue:            {"Nothing. Earlier good backups are kept; events after the last one are in no backup.", "The next run of the schedule tries again."},
	"clock":              {"Perhaps order: of two events the one with the later time counts.", "It ends when the clock is right."},
	NotifyFailing:        {"Messages to people. No event and no change.", "It is tried again at least every five minutes."},
	"log_dropped":        {"Lines of the log. No event and no change.", "It ends an hour after the last lost line."},
}

// costed adds to a condition the sentences on its cost that it has not.
func (c *Condition) costed() Condition {
	whole := *c
	whole.Lost, whole.Itself = cmp.Or(c.Lost, costs[c.Name].lost), cmp.Or(c.Itself, costs[c.Name].itself)
	return whole
}
