package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"personasync/agent/config"
	"personasync/store"
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
	heard        store.Heard
	oldest       map[string]time.Time // receipt of the oldest pending change of each job
	process      Process
	computations []store.ComputationInfo
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
	{"damage", []string{warning}, "data", (*facts).damage},
	{"config_refused", []string{warning}, "config", (*facts).configRefused},
	{"key_conflict", []string{warning}, "outbox", (*facts).keyConflict},
	{"held", []string{warning}, "outbox", (*facts).held},
	{"parked", []string{warning}, "outbox", (*facts).parked},
	{"verify_differs", []string{warning, info}, "verify", (*facts).verifyDiffers},
	{"verify_impossible", []string{warning}, "verify", (*facts).verifyImpossible},
	{"job_failed", []string{warning}, "jobs", (*facts).jobFailed},
	{"runs_missed", []string{warning}, "jobs", (*facts).runsMissed},
	{"clock", []string{warning}, "clock", (*facts).clock},
	{"log_dropped", []string{info}, "log", (*facts).logDropped},
}

// conditionUnreadable holds where the store gives no answer, so that nothing can be judged.
const conditionUnreadable = "store_unreadable"

const conditionNotRunning = "not_running"

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

func (f *facts) notRunning() *Condition {
	if f.running() || f.status.Unready != unreadyStopped {
		return nil
	}
	return condition(critical, "", []string{"systemctl start personasync"},
		"The agent is not running. Segment keeps its events and sends them again for about four hours, then it discards them.")
}

func (f *facts) notReady() *Condition {
	if !f.running() || f.status.Ready || f.process.DataMoved || f.status.Unready == f.process.NoSocket {
		return nil
	}
	return condition(critical, "", []string{"personasync doctor"},
		"Events are not being accepted: %sSegment keeps them and sends them again for about four hours.", ended(f.status.Unready))
}

// dataMoved holds while the open files are not the ones in data_dir.
func (f *facts) dataMoved() *Condition {
	if !f.process.DataMoved {
		return nil
	}
	dir := shellWord(f.process.DataDir)
	return condition(critical, "", []string{"ls -la " + dir, "findmnt -T " + dir, "personasync db backup personasync-backup.tar"},
		"Events are not being accepted: %sPut the files back, and the agent goes on within a second. If they cannot come back, make a backup before the agent stops: it still has them open.", ended(f.status.Unready))
}

// socketMissing holds where systemd was to hand over the socket of ingest, and did not.
func (f *facts) socketMissing() *Condition {
	why := f.process.NoSocket
	if why == "" {
		return nil
	}
	return condition(critical, timestamp(f.process.Started.Truncate(time.Second)), append(quoted(why), "systemctl status personasync.socket"),
		"Segment's deliveries do not arrive: %s", ended(why))
}

// quoted lists the commands that a sentence quotes.
func quoted(sentence string) (commands []string) {
	for i, part := range strings.Split(sentence, "`") {
		if i%2 == 1 && strings.Contains(part, " ") {
			commands = append(commands, part)
		}
	}
	return commands
}

const (
	// refusedLately is how long a refusal counts although deliveries are accepted again.
	refusedLately = 15 * time.Minute
	// refusedEver is how long it counts when nothing was accepted since.
	refusedEver = 7 * 24 * time.Hour
	// manyRefused is the share of deliveries, one in so many, beyond which refusals are no exception.
	manyRefused = 10
	// longDeferred is how long Segment may be kept waiting: it gives up after about four hours.
	longDeferred = time.Hour
)

// intakeRefused judges each route by itself: what one takes says nothing of another.
func (f *facts) intakeRefused() (all *Condition) {
	for _, name := range intakeRoutes {
		c := f.routeRefused(name)
		switch {
		case c == nil:
			continue
		case all == nil:
			all = c
			continue
		case c.Severity == critical:
			all.Severity = critical
		}
		all.Text += " " + c.Text
	}
	return all
}

func (f *facts) routeRefused(name string) *Condition {
	var kinds []store.Refusal
	var last time.Time
	for _, r := range f.status.Refusals {
		if r.Route == name && r.Delivery && f.now.Sub(r.Last) < refusedEver {
			if kinds = append(kinds, r); r.Last.After(last) {
				last = r.Last
			}
		}
	}
	route, accepted := f.route(name)
	healed := accepted.After(last)
	if len(kinds) == 0 || healed && f.now.Sub(last) > refusedLately {
		return nil
	}
	slices.SortStableFunc(kinds, func(a, b store.Refusal) int { return b.Last.Compare(a.Last) })
	severity := warning
	switch all := route.Lost + route.Accepted; {
	case route.Lost > 0 && route.Strangers == route.Lost: // nothing says that events are lost
	case !healed, all > 0 && route.Lost*manyRefused >= all:
		severity = critical
	}
	return condition(severity, timestamp(kinds[0].Last.Truncate(time.Second)), []string{"personasync tail --follow", "personasync config check"},
		"%s, the last %s, and Segment discards their events (%s). %s", refusedShare(&route, name), atText(last), kindsText(kinds), cureOf(&kinds[0], &route))
}

// route is what came to a route lately, and when it last took something. A wrong URL is healed where the
// right one is.
func (f *facts) route(name string) (r IntakeRoute, accepted time.Time) {
	switch name {
	case routeWebhook:
		accepted = f.heard.Webhook
	case routeTracking:
		accepted = f.heard.Tracking
	default:
		accepted = f.heard.Last()
	}
	if f.status.Intake == nil {
		return r, accepted
	}
	for _, one := range f.status.Intake.Routes {
		if one.Route == name {
			r = one
		}
		if (one.Route == name || name == routeOther) && one.LastAccepted.After(accepted) {
			accepted = one.LastAccepted
		}
	}
	return r, accepted
}

func refusedShare(r *IntakeRoute, name string) string {
	where := map[string]string{routeWebhook: pathWebhook, routeTracking: "the Tracking API's routes", routeOther: "paths that take no events"}[name]
	if r.Lost == 0 {
		return "Deliveries to " + where + " were refused for good"
	}
	if name == routeOther {
		return fmt.Sprintf("%s to %s in the last hour", quantity(r.Lost, "delivery"), where) + " were refused for good"
	}
	return fmt.Sprintf("%s of %s to %s in the last hour were refused for good", thousands(r.Lost), quantity(r.Lost+r.Accepted, "delivery"), where)
}

func kindsText(kinds []store.Refusal) string {
	var parts []string
	for _, k := range kinds[:min(len(kinds), 3)] {
		parts = append(parts, fmt.Sprintf("%d %s: %s so far", k.Status, k.Code, thousands(k.Count)))
	}
	return strings.Join(parts, ", ")
}

// cureOf says what to change for the refusal that came last.
func cureOf(k *store.Refusal, r *IntakeRoute) string {
	text := "The answer says what is wrong with them."
	switch {
	case k.Status == 404:
		text = "Set the URL in Segment to end in " + pathWebhook + "."
	case k.Status == 405:
		text = "Set the method in Segment to POST."
	case k.Status == 413:
		text = "Lower the batch size in Segment's settings, or raise ingest.max_body_bytes."
	case k.Code == "invalid_token":
		text = "Compare the Authorization header in Segment's settings with ingest.bearer_token."
	case k.Code == "invalid_write_key":
		text = "Compare the write key of the sender with ingest.write_keys."
	case k.Status == 401:
		text = "Compare the shared secret in Segment's settings with ingest.shared_secret; a batch needs ingest.bearer_token."
	}
	if r.Lost > 0 && r.Strangers == r.Lost {
		text += " None of the senders looks like Segment: it may be a stranger, or a forwarder of yours."
	}
	return text
}

// enoughEvents are no accident when all of them are ignored.
const enoughEvents = 10

func (f *facts) intakeIgnored() *Condition {
	e, in := &f.status.Events, f.status.Intake
	hour := in != nil && in.WebhookEvents >= enoughEvents && (in.WebhookOrdinary == in.WebhookEvents || in.Settled >= enoughEvents && in.Ignored == in.Settled)
	ever := e.Accepted > 0 && e.Ignored == e.Accepted
	if !hour && !ever {
		return nil
	}
	severity, much := critical, "All "+quantity(e.Accepted, "event")+" received so far were ignored"
	if hour {
		much = "All " + quantity(in.WebhookEvents, "event") + " that came to " + pathWebhook + " in the last hour were ignored"
		if in.WebhookOrdinary < in.WebhookEvents {
			return condition(severity, "", []string{"personasync tail", "personasync config show"},
				"%s. %s of them name no computation; the others have no userId, and `anonymous` or `email_only` of the configuration ignores such, or are about users who were erased. Map userId in Segment.", much, thousands(in.WebhookOrdinary))
		}
	} else if e.Accepted < enoughEvents {
		severity = warning
	}
	if !hour && e.Accepted == 1 {
		much = "The only event received so far was ignored"
	}
	missing := "they name no computation"
	if in != nil && in.WebhookOrdinary > 0 {
		if missing = "their context.personas has neither class, id nor key"; in.NoPersonas == in.WebhookOrdinary {
			missing = "they have no context.personas"
		}
	}
	return condition(severity, "", []string{"personasync tail"},
		"%s: %s, so nothing says which audience they are about, and no membership changes. Map the whole event ($.) in Segment, and send audiences of Engage to this destination.", much, missing)
}

func (f *facts) intakeDeferred() *Condition {
	in := f.status.Intake
	if in == nil || !f.status.Ready {
		return nil // not_ready says why
	}
	for _, r := range in.Routes {
		if r.DeferredFrom.IsZero() || f.now.Sub(r.LastDeferred) > refusedLately {
			continue
		}
		severity := warning
		if f.now.Sub(r.DeferredFrom) > longDeferred {
			severity = critical
		}
		cure := "The log says why."
		if r.DeferredCode == codeNoCredentials {
			cure = map[string]string{routeWebhook: "Set ingest.shared_secret or ingest.bearer_token.", routeTracking: "Set ingest.write_keys."}[r.Route]
		}
		return condition(severity, timestamp(r.DeferredFrom.Truncate(time.Second)), []string{"personasync config check"},
			"Deliveries to the %s route are answered with 5xx (%s) since %s: %s in the last hour. Segment sends them again for about four hours, then it discards them. %s",
			r.Route, r.DeferredCode, at(r.DeferredFrom), thousands(r.Deferred), cure)
	}
	return nil
}

func (f *facts) noEventYet() *Condition {
	if !f.running() || f.status.Received > 0 || f.status.Events.Accepted > 0 || f.intakeRefused() != nil || f.intakeDeferred() != nil {
		return nil // they say what becomes of what reaches it
	}
	return condition(warning, timestamp(f.process.Started.Truncate(time.Second)), []string{"personasync tail --follow"},
		"No event was ever received, so nothing says that Segment reaches this agent. Connect it to %s, and send a test event from Segment.", pathWebhook)
}

func (f *facts) nothingReceived() *Condition {
	heard := f.status.Heard
	if !f.running() || heard == nil || f.status.Unapplied > 0 {
		return nil
	}
	limit := silentAfter
	if usual := f.process.UsualSilence; usual > 0 {
		limit = min(limit, max(minSilence, silences*usual))
	}
	silence := f.now.Sub(*heard)
	if silence < limit {
		return nil
	}
	text := "it sends something at least once a day"
	if limit < silentAfter {
		text = "in the day before, no pause was longer than " + forPeople(f.process.UsualSilence)
	}
	return condition(warning, timestamp(heard.Truncate(time.Second)), []string{"personasync tail --follow"},
		"Segment has sent nothing since %s (%s), and %s. Look in Segment's Event Delivery whether its requests reach this agent.", at(*heard), forPeople(silence), text)
}

const (
	// minSilence and silences are when a silence is longer than usual.
	minSilence = time.Hour
	silences   = 4
)

func (f *facts) computationSilent() *Condition {
	var keys []string
	for _, s := range f.status.Staleness {
		if s.Silent {
			keys = append(keys, s.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return condition(info, "", []string{"personasync audience list"},
		"No event of %s for more than two days, while Segment sends others. Look in Segment whether it is still computed, and connected to this destination.", some(keys))
}

func (f *facts) moengageRefusing() *Condition {
	if m := &f.status.MoEngage; m.State == "failing" && m.Stopped {
		return condition(critical, m.Since, []string{"personasync outbox explain-code " + codeOf(m.LastError)},
			"MoEngage refuses everything%s. %sNothing is lost: changes wait, and one request a minute tries whether it is over%s.", sinceText(m.Since), lastErrorText(m), nextTryText(m))
	}
	return nil
}

func (f *facts) moengageFailing() *Condition {
	if m := &f.status.MoEngage; m.State == "failing" && !m.Stopped {
		return condition(warning, m.Since, []string{"personasync outbox explain-code " + codeOf(m.LastError)},
			"MoEngage does not take requests%s. %sChanges wait and are retried%s.", sinceText(m.Since), lastErrorText(m), nextTryText(m))
	}
	return nil
}

// codeOf is the code that a last error begins with.
func codeOf(lastError string) string {
	code, _, _ := strings.Cut(lastError, ":")
	return shellWord(cmp.Or(code, "unreachable"))
}

func lastErrorText(m *Reachability) string {
	if m.LastError == "" {
		return ""
	}
	text := "Its last error"
	if when := atOf(m.LastErrorAt); when != "" {
		text += ", at " + when
	}
	return text + ", was " + ended(m.LastError)
}

func nextTryText(m *Reachability) string {
	if when := atOf(m.NextTry); when != "" {
		return ", next at " + when
	}
	return ""
}

// lag holds where a change waits for longer than it should, be it for the next run of its schedule.
func (f *facts) lag() *Condition {
	st := f.status
	var oldest time.Time
	for job, at := range f.oldest {
		due := at
		if schedule, waits := f.process.Schedules[job]; waits {
			due = schedule.Next(at)
		}
		if f.now.Sub(due) > slow && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	if oldest.IsZero() || !f.running() {
		return nil
	}
	why := "although MoEngage answers"
	if st.MoEngage.State == "failing" {
		why = "because MoEngage does not take requests"
	}
	return condition(critical, timestamp(oldest.Truncate(time.Second)), []string{"personasync outbox list", "personasync outbox stats"},
		"The oldest of %s that should have left has waited for %s, %s: so late is what MoEngage knows of memberships.", quantity(st.Pending, "pending change"), forPeople(f.now.Sub(oldest)), why)
}

func (f *facts) behind() *Condition {
	if f.status.Unapplied <= behind {
		return nil
	}
	return condition(warning, "", []string{"personasync status --watch"},
		"%s received and not applied yet: they are safe, and membership lags behind.", are(f.status.Unapplied, "event"))
}

// disk holds while there is hardly room, or the room ends soon.
func (f *facts) disk() *Condition {
	s := f.process.Space
	if s == nil {
		return nil
	}
	commands := []string{"df -h " + shellWord(f.process.DataDir), "personasync db compact"}
	switch soon := time.Duration(f.process.Forecast.DiskS) * time.Second; {
	case s.FreeBytes < 2*s.FloorBytes:
		return condition(critical, "", commands, "The disk of %s has %s free: below %s events are refused with 503.", f.process.DataDir, store.Bytes(s.FreeBytes), store.Bytes(s.FloorBytes))
	case s.MaxDataBytes > 0 && s.DataBytes > s.MaxDataBytes/10*8:
		return condition(critical, "", commands, "The data takes %s of the %s that retention.max_data_bytes allows: from nine tenths events are refused with 503.", store.Bytes(s.DataBytes), store.Bytes(s.MaxDataBytes))
	case soon > 0 && soon < diskSoon:
		return condition(warning, "", commands, "At the growth of the last hour the disk lasts %s. Then events are refused with 503.", f.process.Forecast.Disk)
	}
	return nil
}

func (f *facts) unbalanced() *Condition {
	if f.status.Events.Balances() && f.status.Changes.Balances() {
		return nil
	}
	return condition(critical, "", []string{"personasync db check"}, "The ledger does not balance: something was lost or counted twice. Please report it.")
}

func (f *facts) damage() *Condition {
	if len(f.status.Salvages) == 0 {
		return nil
	}
	s := &f.status.Salvages[0]
	return condition(warning, timestamp(s.At), []string{"personasync status"},
		"%s was damaged and made anew. `personasync status` lists what was lost; remove %s when you have looked at it.", s.File, s.KeptAs)
}

func (f *facts) configRefused() *Condition {
	r := f.process.Refused
	if r == nil {
		return nil
	}
	return condition(warning, timestamp(r.At.Truncate(time.Second)), []string{"personasync config check", "systemctl reload personasync"},
		"The configuration was refused at the reload of %s, and the one before it goes on: %s", at(r.At), ended(r.Error))
}

// conflicting lists the computations whose changes are held for the name of another.
func (f *facts) conflicting() (list []store.ComputationInfo) {
	for _, c := range f.computations {
		if c.Conflict != nil {
			list = append(list, c)
		}
	}
	return list
}

// keyConflict names both computations. Where they share the key, one may be the other made again.
func (f *facts) keyConflict() *Condition {
	list := f.conflicting()
	if len(list) == 0 {
		return nil
	}
	var parts, commands []string
	for _, c := range list[:min(len(list), 3)] {
		parts = append(parts, fmt.Sprintf("%s (id %s, %s held) and %s (id %s) would both be sent as %s", c.Key, c.ID, quantity(c.Held, "change"), c.Conflict.Key, c.Conflict.ID, c.Conflict.Name))
		if c.Key == c.Conflict.Key && c.ID != c.Conflict.ID {
			commands = append(commands, "personasync audience adopt "+shellWord(c.Key)+" "+shellWord(c.ID))
		}
		commands = append(commands, "personasync outbox list --state held --computation "+shellWord(cmp.Or(c.ID, c.Key)))
	}
	more := ""
	if n := len(list) - len(parts); n > 0 {
		more = fmt.Sprintf("; and %s more", quantity(uint64(n), "conflict"))
	}
	return condition(warning, "", commands,
		"%s%s. The changes of the one that came later are held. If it was made again in Segment, `adopt` has it continue the other; else give it a name of its own in a [[computation]] section of the configuration.", strings.Join(parts, "; "), more)
}

// held names the audiences whose exits the guard holds, and both ways out.
func (f *facts) held() *Condition {
	st := f.status
	if len(st.Guard) == 0 {
		conflicts := uint64(0)
		for _, c := range f.conflicting() {
			conflicts += c.Held
		}
		if st.Held <= conflicts {
			return nil // key_conflict speaks of them
		}
		return condition(warning, "", []string{"personasync outbox list --state held"}, "%s held back, waiting for your decision.", are(st.Held-conflicts, "change"))
	}
	var commands []string
	var parts []string
	for i := range st.Guard {
		g := &st.Guard[i]
		if i < 3 {
			key := shellWord(f.nameOf(g))
			commands = append(commands, "personasync audience release "+key, "personasync audience discard "+key)
			parts = append(parts, fmt.Sprintf("%s (%s%s)", g.Key, quantity(g.Held, "change"), sinceText(g.Since)))
		}
	}
	more := ""
	if n := len(st.Guard) - len(parts); n > 0 {
		more = fmt.Sprintf(" and %d more audiences", n)
		commands = append(commands, "personasync audience list")
	}
	return condition(warning, st.Guard[0].Since, commands,
		"Too many members left at once, and exits of %s%s are held. `release` sends them; `discard` makes those who left members again.", strings.Join(parts, ", "), more)
}

// nameOf is what an audience is called on a command line: its key, or its id where several share the key.
func (f *facts) nameOf(g *GuardedAudience) string {
	for _, c := range f.computations {
		if c.Key == g.Key && c.ID != g.ID {
			return g.ID
		}
	}
	return cmp.Or(g.Key, g.ID)
}

func (f *facts) parked() *Condition {
	st := f.status
	if st.Parked == 0 {
		return nil
	}
	text := fmt.Sprintf("%s could not be used or delivered: parked until you decide.", quantity(st.Parked, "item"))
	if e := st.Expiring; e != nil {
		text += fmt.Sprintf(" Undecided, %s within a week, the first on %s.", expiryOf(e), e.First.UTC().Format("2 January"))
	}
	return condition(warning, "", []string{"personasync outbox stats", "personasync outbox list --state parked"}, "%s", text)
}

// manyDiffer is the share, one in so many, beyond which differences are no accident of the sample.
const manyDiffer = 100

func (f *facts) verifyDiffers() *Condition {
	v := f.status.Verify
	if v == nil || v.Differ == 0 {
		return nil
	}
	severity := info
	if v.Differ*manyDiffer > v.Compared {
		severity = warning
	}
	return condition(severity, timestamp(v.At), []string{"personasync audience verify " + shellWord(v.Worst), "personasync audience verify " + shellWord(v.Worst) + " --repair"},
		"Of %s read back from MoEngage, %s not hold what it was told; %s is the worst.", quantity(v.Compared, "user"), does(v.Differ), v.Worst)
}

// verifyImpossible holds while the last verification of a computation failed: it proves nothing.
func (f *facts) verifyImpossible() *Condition {
	v := f.status.Verify
	if v == nil || v.Failed == 0 {
		return nil
	}
	since := ""
	if v.FailedAt != nil {
		since = timestamp(*v.FailedAt)
	}
	return condition(warning, since, []string{"personasync outbox explain-code " + shellWord(v.Code), "personasync audience verify " + shellWord(v.FailedKey)},
		"%s could not be verified, so nothing says whether MoEngage holds what it was told: of %s, at %s, %s", quantity(uint64(v.Failed), "computation"), v.FailedKey, atOf(since), ended(v.Error))
}

func (f *facts) jobFailed() *Condition {
	list := f.status.FailedJobs
	if len(list) == 0 {
		return nil
	}
	var names []string
	for i := range list {
		names = append(names, list[i].Job)
	}
	last := slices.MaxFunc(list, func(a, b FailedJob) int { return cmp.Compare(a.FailedAt, b.FailedAt) })
	return condition(warning, last.FailedAt, []string{"personasync schedule"},
		"The last run of %s failed. That of %s, at %s (%s): %s", some(names), last.Job, atOf(last.FailedAt), last.Code, ended(last.Error))
}

func (f *facts) clock() *Condition {
	if f.process.ClockDoubt == "" {
		return nil
	}
	return condition(warning, "", []string{"timedatectl", "personasync doctor"},
		"The time may be wrong: %s. Event times are judged by it. Set the clock, and keep it with NTP.", f.process.ClockDoubt)
}

func (f *facts) logDropped() *Condition {
	if f.process.LinesDropped == 0 {
		return nil
	}
	return condition(info, "", []string{"systemctl restart systemd-journald"},
		"Lines of the log were lost in the last hour, because nobody read them in time (%s since the start). Work goes on without them. Look at what reads the log.", thousands(f.process.LinesDropped))
}

func (f *facts) runsMissed() *Condition {
	if len(f.process.Missed) == 0 {
		return nil
	}
	return condition(warning, "", []string{"personasync schedule"},
		"Runs of %s were missed in the last hour: they fell into downtime, or into the run before.", some(f.process.Missed))
}

// some lists the first few of names.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

func does(n uint64) string {
	if n == 1 {
		return "1 does"
	}
	return thousands(n) + " do"
}

// at writes a moment for people.
func at(t time.Time) string { return t.UTC().Format("15:04:05 UTC, 2 January") }

func atText(t time.Time) string { return "at " + at(t) }

// atOf is at of what a listing shows; "" for what is no time.
func atOf(timestamp string) string {
	t, err := time.Parse(time.RFC3339Nano, timestamp)
	if err != nil {
		return ""
	}
	return at(t)
}

// shellWord quotes an argument that a shell would not take as one word.
func shellWord(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:@%+,=", r))
	})
	if plain && !strings.HasPrefix(s, "-") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// diskFacts are what a running agent knows of its disk.
func (p *process) diskFacts(now time.Time, m config.MoEngage) (*store.Space, Forecast) {
	space := p.store.Space()
	hour := p.recorder.series(now.Add(-time.Hour))
	if len(hour) == 0 {
		return &space, Forecast{}
	}
	return &space, forecast(hour, space, min(m.UsersPerMinute, m.EventsPerMinute))
}
