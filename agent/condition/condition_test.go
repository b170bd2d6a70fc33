package condition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/ingest"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

var two = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// wellAt is an agent to whom nothing is wrong, at the moment two: it runs for a day, and heard an event a minute ago.
func wellAt() *Facts {
	heard := two.Add(-time.Minute)
	return &Facts{
		Now: two, LastReceived: domain.LastReceived{Webhook: heard},
		Status: &Status{
			Ready: true, Received: 100, LastReceived: &heard, Intake: webhookIntake(1, 0, 0, time.Minute), MoEngage: Reachability{State: "ok"},
			Events: domain.EventLedger{Accepted: 100, Transitions: 60, Ignored: 40}, Changes: domain.ChangeLedger{Created: 60, Delivered: 60},
		},
		Process: Process{
			Started: two.Add(-24 * time.Hour), DataDir: "/var/lib/personasync",
			Space: &store.Space{FreeBytes: 100 << 30, FloorBytes: 1 << 30, DataBytes: 1 << 30},
		},
	}
}

func refusedKind(route string, status int, code string, count uint64, ago time.Duration) domain.Refusal {
	return domain.Refusal{Route: route, Status: status, Code: code, Delivery: true, Count: count, Last: two.Add(-ago)}
}

// webhookIntake is an hour in which the webhook took some deliveries and refused others.
func webhookIntake(accepted, lost, strangers int, last time.Duration) *ingest.Intake {
	return &ingest.Intake{Since: two.Add(-time.Hour), Routes: []ingest.IntakeRoute{{Route: ingest.RouteWebhook, Accepted: uint64(accepted), Lost: uint64(lost), Strangers: uint64(strangers), LastAccepted: since0(accepted, last)}, {Route: ingest.RouteTracking}, {Route: ingest.RouteOther}}}
}

func waiting(job string, ago time.Duration) map[string]time.Time {
	return map[string]time.Time{job: two.Add(-ago)}
}

func mustSchedule(spec string) scheduler.Schedule {
	s, err := scheduler.Parse(spec, time.UTC)
	if err != nil {
		panic(err)
	}
	return s
}

func since0(accepted int, last time.Duration) time.Time {
	if accepted == 0 {
		return time.Time{}
	}
	return two.Add(-last)
}

// conditionCases are an example of every condition, and facts without one.
var conditionCases = []struct {
	name  string
	facts func(f *Facts)
	want  []string // name, severity, and parts of the sentence in order, or of the commands
}{
	{"all is well", func(*Facts) {}, nil},
	{"changes on their way", func(f *Facts) { f.Status.Pending = 1204 }, nil},
	{"the agent is stopped", func(f *Facts) {
		f.Process = Process{}
		f.Status.Ready, f.Status.Unready, f.Status.Intake = false, unreadyStopped, nil
	}, []string{"not_running critical.*four hours.*systemctl start personasync"}},
	{"events are not accepted", func(f *Facts) { f.Status.Ready, f.Status.Unready = false, "the disk is full" }, []string{"not_ready critical.*not being accepted: the disk is full. Segment keeps.*personasync doctor"}},

	{"a wrong secret, and nothing gets in", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 11, time.Minute)}
		f.Status.Intake, f.LastReceived = webhookIntake(0, 11, 0, 0), domain.LastReceived{}
	}, []string{"intake_refused critical.*11 of 11 deliveries to /segment/webhook in the last hour were refused for good.*at 01:59:00 UTC, 1 March.*401 invalid_signature: 11 so far.*ingest.shared_secret.*tail --follow"}},
	{"a wrong secret in the night, the agent restarted since, and nothing came in", func(f *Facts) {
		old := two.Add(-9 * time.Hour)
		f.LastReceived = domain.LastReceived{Webhook: old, Tracking: two}
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 11, 8*time.Hour)}
		f.Status.Intake, f.Status.LastReceived = webhookIntake(0, 0, 0, 0), &old
	}, []string{"intake_refused critical.*Deliveries to /segment/webhook were refused for good"}},
	{"of the webhook everything is refused, while an SDK gets in", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 11, time.Minute)}
		f.Status.Intake, f.LastReceived = webhookIntake(0, 11, 0, 0), domain.LastReceived{Tracking: two}
		f.Status.Intake.Routes[1] = ingest.IntakeRoute{Route: ingest.RouteTracking, Accepted: 100_000, LastAccepted: two}
	}, []string{"intake_refused critical.*11 of 11 deliveries"}},
	{"a wrong secret, and a stray method after it", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 11, 2*time.Minute), refusedKind(ingest.RouteWebhook, 405, "method_not_allowed", 1, time.Minute)}
		f.Status.Intake = webhookIntake(2, 12, 0, 5*time.Minute)
	}, []string{"intake_refused critical.*Set the method in Segment to POST. Compare the shared secret"}},
	{"a batch too large among thousands", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 413, "body_too_large", 1, 2*time.Minute)}
		f.Status.Intake = webhookIntake(2000, 1, 0, time.Minute)
	}, []string{"intake_refused warning.*1 of 2,001 deliveries.*ingest.max_body_bytes"}},
	{"the secret was corrected", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 11, 20*time.Minute)}
		f.Status.Intake = webhookIntake(3, 11, 0, time.Minute)
	}, nil},
	{"Segment has a wrong URL", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteOther, 404, "not_found", 5, time.Minute)}
		f.Status.Intake, f.LastReceived = webhookIntake(0, 0, 0, 0), domain.LastReceived{}
		f.Status.Intake.Routes[2].Lost = 5
	}, []string{"intake_refused critical.*5 deliveries to paths that take no events.*URL in Segment to end in /segment/webhook"}},
	{"a wrong URL beside a wrong secret", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 11, time.Minute), refusedKind(ingest.RouteOther, 404, "not_found", 5, time.Minute)}
		f.Status.Intake, f.LastReceived = webhookIntake(0, 11, 0, 0), domain.LastReceived{}
		f.Status.Intake.Routes[2].Lost = 5
	}, []string{"intake_refused critical.*11 of 11 deliveries.*ingest.shared_secret.* 5 deliveries to paths"}},
	{"refused before the start, accepted before it, too, and another route took something since", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 1, 48*time.Hour)}
		f.Status.Intake, f.LastReceived = webhookIntake(0, 0, 0, 0), domain.LastReceived{Webhook: two.Add(-24 * time.Hour)}
		f.Status.Intake.Routes[1] = ingest.IntakeRoute{Route: ingest.RouteTracking, Accepted: 1, LastAccepted: two}
	}, nil},
	{"refused a moment before the stop, and accepted since", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 1, 10*time.Minute)}
		f.Status.Intake = nil
	}, []string{"intake_refused warning"}},
	{"a scanner tries paths", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{{Route: ingest.RouteOther, Status: 404, Code: "not_found", Count: 100_000, Last: two}}
	}, nil},
	{"a stranger knows the webhook", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "missing_signature", 500, time.Minute)}
		f.Status.Intake = webhookIntake(3, 500, 500, 10*time.Minute)
	}, []string{"intake_refused warning.*None of the senders looks like Segment"}},
	{"refused a month ago, and nothing since", func(f *Facts) {
		f.Status.Refusals = []domain.Refusal{refusedKind(ingest.RouteWebhook, 401, "invalid_signature", 1, 30*24*time.Hour)}
		f.Status.Intake = webhookIntake(0, 0, 0, 0)
	}, nil},

	{"a mapping that loses context.personas", func(f *Facts) {
		f.Status.Intake.WebhookEvents, f.Status.Intake.WebhookOrdinary, f.Status.Intake.NoPersonas = 100, 100, 100
	}, []string{"intake_ignored critical.*All 100 events that came to /segment/webhook in the last hour were ignored: they have no context.personas.*Map the whole event"}},
	{"a mapping that empties context.personas", func(f *Facts) {
		f.Status.Intake.WebhookEvents, f.Status.Intake.WebhookOrdinary = 100, 100
	}, []string{"intake_ignored critical.*neither class, id nor key"}},
	{"a mapping that loses userId, where such are ignored", func(f *Facts) {
		f.Status.Intake.WebhookEvents, f.Status.Intake.WebhookOrdinary, f.Status.Intake.Settled, f.Status.Intake.Ignored = 100, 2, 100, 100
	}, []string{"intake_ignored critical.*All 100 events.* 2 of them name no computation; the others have no userId"}},
	{"an SDK's ordinary traffic", func(f *Facts) { f.Status.Intake.Settled, f.Status.Intake.Ignored = 1000, 1000 }, nil},
	{"ordinary events among others", func(f *Facts) {
		f.Status.Intake.WebhookEvents, f.Status.Intake.WebhookOrdinary, f.Status.Intake.NoPersonas = 100, 99, 99
	}, nil},
	{"one audience's mapping lost context.personas among healthy ones", func(f *Facts) {
		f.Status.Intake.WebhookEvents, f.Status.Intake.WebhookOrdinary, f.Status.Intake.Alike, f.Status.Intake.AlikeKey = 500, 40, 40, "vip"
	}, []string{"intake_ignored warning.*40 of 500 events.*name no computation and were ignored.*such as vip"}},
	{"a mapping that lost context.personas a minute ago", func(f *Facts) {
		f.Status.Intake.WebhookEvents, f.Status.Intake.WebhookOrdinary, f.Status.Intake.NoPersonas, f.Status.Intake.OrdinaryRun = 500, 100, 100, 100
	}, []string{"intake_ignored warning.*The last 100 events that came to /segment/webhook were ignored, and none before them.*no context.personas.*Map the whole event"}},
	{"ordinary events among others, the last ones in a row", func(f *Facts) {
		f.Status.Intake.WebhookEvents, f.Status.Intake.WebhookOrdinary, f.Status.Intake.NoPersonas, f.Status.Intake.OrdinaryRun = 500, 101, 101, 100
	}, nil},
	{"the first test event", func(f *Facts) {
		f.Status.Received, f.Status.Events = 1, domain.EventLedger{Accepted: 1, Ignored: 1}
	}, []string{"intake_ignored warning.*The only event received so far was ignored: they"}},

	{"a route without credentials", func(f *Facts) {
		f.Status.Intake.Routes[1] = ingest.IntakeRoute{Route: ingest.RouteTracking, Deferred: 7, DeferredCode: ingest.CodeNoCredentials, LastDeferred: two, DeferredFrom: two.Add(-10 * time.Minute)}
	}, []string{"intake_deferred warning.*tracking route.*no_credentials.*ingest.write_keys"}},
	{"the same for an hour", func(f *Facts) {
		f.Status.Intake.Routes[0] = ingest.IntakeRoute{Route: ingest.RouteWebhook, Deferred: 7, DeferredCode: ingest.CodeNoCredentials, LastDeferred: two, DeferredFrom: two.Add(-2 * time.Hour)}
	}, []string{"intake_deferred critical.*ingest.shared_secret or"}},
	{"a moment of crowding, over", func(f *Facts) {
		f.Status.Intake.Routes[0] = ingest.IntakeRoute{Route: ingest.RouteWebhook, Deferred: 7, DeferredCode: "crowded", LastDeferred: two.Add(-time.Minute)}
	}, nil},

	{"a fresh agent that heard nothing", func(f *Facts) {
		f.Status.Received, f.Status.Events, f.Status.LastReceived = 0, domain.EventLedger{}, nil
	}, []string{"no_event_yet warning.*No event was ever received.*/segment/webhook"}},
	{"a fresh agent that the sender's proxy speaks HTTPS to", func(f *Facts) {
		f.Status.Received, f.Status.Events, f.Status.LastReceived = 0, domain.EventLedger{}, nil
		f.Status.Refusals = []domain.Refusal{{Route: domain.RouteUnread, Status: 400, Code: domain.CodeHTTPSToHTTP, Count: 3, Last: two}}
	}, []string{"no_event_yet warning.*3 so far came by HTTPS, and ingest.listen speaks HTTP: set ingest.tls_cert"}},
	{"silence since headers are too large", func(f *Facts) {
		heard := two.Add(-49 * time.Hour)
		f.Status.LastReceived = &heard
		f.Status.Refusals = []domain.Refusal{
			{Route: domain.RouteUnread, Status: 431, Code: domain.CodeHeadersTooLarge, Count: 7, Last: two},
			{Route: domain.RouteUnread, Status: 400, Code: domain.CodeHTTPToHTTPS, Count: 1, Last: heard.Add(-time.Hour)},
		}
	}, []string{`nothing_received warning.*7 so far had headers of more than 16 KiB[^:]*: have the proxy in front add less \(headers_too_large, the last at [^)]*\)\. personasync tail`}},
	{"silence for two days", func(f *Facts) {
		heard := two.Add(-49 * time.Hour)
		f.Status.LastReceived = &heard
	}, []string{"nothing_received warning.*nothing since 01:00:00 UTC, 27 February"}},
	{"silence for two hours, where something comes each minute", func(f *Facts) {
		heard := two.Add(-2 * time.Hour)
		f.Status.LastReceived, f.Process.UsualSilence = &heard, 3*time.Minute
	}, []string{"nothing_received warning.*no pause was longer than 3 min"}},
	{"silence for two hours, where that happens", func(f *Facts) {
		heard := two.Add(-2 * time.Hour)
		f.Status.LastReceived, f.Process.UsualSilence = &heard, time.Hour
	}, nil},
	{"one audience is silent", func(f *Facts) { f.Status.Staleness = []Staleness{{Key: "vip", Silent: true}, {Key: "gold"}} }, []string{"computation_silent info.*No event of vip for more than two days"}},

	{"wrong credentials come before what is parked", func(f *Facts) {
		f.Status.Parked = 1
		f.Status.MoEngage = Reachability{State: "failing", Stopped: true, LastError: "http_401: no", Since: "2026-03-01T00:02:00Z", LastErrorAt: "2026-03-01T01:59:00Z", NextTry: "2026-03-01T02:01:00Z"}
	}, []string{"moengage_refusing critical.*refuses everything since 00:02 UTC, 1 March. Its last error, at 01:59:00 UTC, 1 March, was http_401: no. Nothing is lost.*next at 02:01:00 UTC.*explain-code http_401", "parked warning.*1 item could not"}},
	{"an outage explains old changes", func(f *Facts) {
		f.Status.MoEngage = Reachability{State: "failing", LastError: "http_503: away"}
		f.Status.Pending, f.Oldest = 5, waiting("", 9999*time.Second)
	}, []string{"lag critical.*because MoEngage does not take requests", "moengage_failing warning.*retried"}},
	{"old changes without an outage", func(f *Facts) { f.Status.Pending, f.Oldest = 5, waiting("", time.Hour) }, []string{"lag critical.*The oldest of 5 pending changes that should have left has waited for 1 h 0 min, although MoEngage answers"}},
	{"young changes", func(f *Facts) { f.Status.Pending, f.Oldest = 5, waiting("", slow) }, nil},
	{"old changes that wait for a schedule", func(f *Facts) {
		f.Process.Schedules = map[string]scheduler.Schedule{"": mustSchedule("0 3 * * *")}
		f.Status.Pending, f.Oldest = 1, waiting("", 22*time.Hour)
	}, nil},
	{"a run is draining what waited for it", func(f *Facts) {
		f.Process.Schedules = map[string]scheduler.Schedule{"": mustSchedule("50 1 * * *")}
		f.Status.Pending, f.Oldest = 1, waiting("", 22*time.Hour)
	}, nil},
	{"old changes that a run did not take", func(f *Facts) {
		f.Process.Schedules = map[string]scheduler.Schedule{"": mustSchedule("0 1 * * *")}
		f.Status.Pending, f.Oldest = 1, waiting("", 22*time.Hour)
	}, []string{"lag critical.*waited for 22 h"}},
	{"a nightly computation beside others that leave at once", func(f *Facts) {
		f.Process.Schedules = map[string]scheduler.Schedule{"vip": mustSchedule("0 3 * * *")}
		f.Status.Pending, f.Oldest = 2, waiting("vip", 20*time.Hour)
		f.Oldest[""] = two.Add(-30 * time.Minute)
	}, []string{"lag critical.*waited for 30 min"}},
	{"behind", func(f *Facts) { f.Status.Unapplied = 300_000 }, []string{"behind warning.*300,000 events are received and not applied"}},

	{"the disk is nearly full", func(f *Facts) { f.Process.Space.FreeBytes = 3 << 29 }, []string{"disk critical.*1.5 GiB free.*df -h /var/lib/personasync"}},
	{"the disk is full, and a compaction has no room", func(f *Facts) {
		f.Process.Space.FreeBytes, f.Process.Space.LiveBytes = 0, 1<<20
	}, []string{"disk critical.*Make room on it, or lower retention.received_bytes and reload.*df -h /var/lib/personasync;du -sh /var/lib/personasync$"}},
	{"our own limit is near", func(f *Facts) { f.Process.Space.MaxDataBytes = 5<<28 - 1 }, []string{"disk critical.*retention.max_data_bytes"}},
	{"the disk ends soon", func(f *Facts) { f.Process.Forecast = Forecast{Disk: "about 47 h 0 min", DiskS: 47 * 3600} }, []string{"disk warning.*lasts about 47 h"}},
	{"the disk ends, but not soon", func(f *Facts) { f.Process.Forecast = Forecast{Disk: "about 2 d 1 h", DiskS: 49 * 3600} }, nil},
	{"the ledger is off", func(f *Facts) { f.Status.Changes.Created++ }, []string{"ledger critical.*db check"}},
	{"a damaged file is kept", func(f *Facts) { f.Status.Salvages = []store.Salvage{{File: "state.db", KeptAs: "state.db.damaged-1"}} }, []string{"damage warning.*Nothing was lost; remove state.db.damaged-1"}},
	{"a damaged inbox file had only applied events", func(f *Facts) {
		f.Status.Salvages = []store.Salvage{{File: "inbox-00000001.db", KeptAs: "inbox-00000001.db.damaged-1", Lost: store.Stock{Records: 3}}}
	}, []string{"damage warning.*had been applied, so that memberships and changes are right; parked.*remove inbox-00000001.db.damaged-1"}},
	{"a damaged inbox file had events that were not applied", func(f *Facts) {
		f.Status.Salvages = []store.Salvage{{File: "inbox-00000001.db", KeptAs: "inbox-00000001.db.damaged-1", Lost: store.Stock{Records: 3}, Unapplied: 1}}
	}, []string{"damage critical.*memberships among it are wrong until"}},
	{"a damaged file cost memberships", func(f *Facts) {
		f.Status.Salvages = []store.Salvage{{File: "state.db", KeptAs: "state.db.damaged-2"}, {File: "state.db", KeptAs: "state.db.damaged-1", Lost: store.Stock{Users: 3, Members: 3}}}
	}, []string{"damage critical.*memberships among it are wrong until.*audience import KEY FILE.*remove state.db.damaged-1"}},
	{"sending is paused", func(f *Facts) {
		f.Status.Pause = &domain.Pause{Since: two.Add(-time.Hour), Until: two.Add(time.Hour), Why: "campaign freeze", By: "ann"}
		f.Status.Pending, f.Oldest = 1, waiting("", 22*time.Hour) // which is no lag now
	}, []string{"paused warning.*paused by ann, until 03:00:00 UTC, 1 March: campaign freeze.*personasync outbox resume"}},
	{"sending is paused without an end", func(f *Facts) {
		f.Status.Pause = &domain.Pause{Since: two.Add(-time.Hour), Why: "migration"}
	}, []string{"paused warning.*paused, until it is resumed: migration"}},
	{"a reload was refused", func(f *Facts) {
		f.Process.Refused = &RefusedReload{At: two.Add(-time.Hour), Error: "schedule.cron: bad"}
	}, []string{"config_refused warning.*reload of 01:00:00 UTC, 1 March.*schedule.cron: bad. .*personasync config check;systemctl reload"}},
	{"a reload was refused that a restart takes", func(f *Facts) {
		f.Process.Refused = &RefusedReload{At: two.Add(-time.Hour), Error: "changes would go to B in place of A", AtStart: true}
	}, []string{"config_refused warning.*B in place of A. .*personasync config show;systemctl restart"}},

	{"the data was moved away", func(f *Facts) {
		f.Process.DataMoved, f.Status.Ready, f.Status.Unready = true, false, "the data was moved or removed while the agent runs: /var/lib/personasync"
	}, []string{"data_moved critical.*not being accepted: the data was moved.*findmnt -T /var/lib/personasync;personasync db backup"}},
	{"a file has the name of the agent's socket", func(f *Facts) {
		f.Process.LostSockets = []LostSocket{{Path: "/run/personasync/admin.sock", Why: "it names a file", Since: two}}
	}, []string{"socket_lost warning.*No command reaches the agent.*Nobody can connect to /run/personasync/admin.sock: it names a file.*;mv /run/personasync/admin.sock /run/personasync/admin.sock.aside"}},
	{"files have the names of both its sockets", func(f *Facts) {
		f.Process.LostSockets = []LostSocket{{Path: "/run/personasync/admin.sock", Why: "it names a file", Since: two}, {Path: "/run/in put", Ingest: true, Why: "it names a folder", Since: two}}
		f.Status.Ready, f.Status.Unready = false, "no delivery reaches ingest.listen: it names a folder"
	}, []string{"socket_lost critical.*deliveries do not arrive.*/run/in put: it names a folder.*;mv '/run/in put' '/run/in put.aside'"}},
	{"the socket went with the data", func(f *Facts) {
		f.Process.LostSockets = []LostSocket{{Path: "/var/lib/personasync/admin.sock", Why: "no such file", Since: two}}
		f.Process.DataMoved, f.Status.Ready, f.Status.Unready = true, false, "the data was moved or removed while the agent runs: /var/lib/personasync"
	}, []string{"data_moved critical"}},
	{"an audience was made again", func(f *Facts) {
		f.Status.Held = 3
		f.Computations = []domain.ComputationInfo{{Key: "vip", ID: "aud_1"}, {Key: "vip", ID: "aud_2", Held: 3, Conflict: &domain.Conflict{Key: "vip", ID: "aud_1", Name: "vip"}}}
	}, []string{"key_conflict warning.*vip \\(id aud_2, 3 changes held\\) and vip \\(id aud_1\\) would both be sent as vip.*personasync audience adopt vip aud_2;personasync outbox list --state held --computation aud_2"}},
	{"two names become one, and something else is held", func(f *Facts) {
		f.Status.Held = 4
		f.Computations = []domain.ComputationInfo{{Key: "segment_status", ID: "aud_2", Held: 3, Conflict: &domain.Conflict{Key: "status", ID: "aud_1", Name: "segment_status"}}}
	}, []string{"key_conflict warning.*segment_status \\(id aud_2, 3 changes held\\) and status \\(id aud_1\\) would both be sent as segment_status", "held warning.*1 change is held"}},
	{"exits are held", func(f *Facts) {
		f.Status.Held = 350
		f.Status.Guard = []GuardedAudience{{Key: "big spenders", ID: "aud_1", Held: 350, Since: "2026-03-01T01:00:00Z"}}
	}, []string{"held warning.*exits of big spenders \\(350 changes since 01:00 UTC, 1 March\\) are held.*personasync audience release 'big spenders';personasync audience discard 'big spenders'"}},
	{"exits of a key that two audiences have", func(f *Facts) {
		f.Status.Held = 350
		f.Status.Guard = []GuardedAudience{{Key: "vip", ID: "aud_1", Held: 350, Since: "2026-03-01T01:00:00Z"}}
		f.Computations = []domain.ComputationInfo{{Key: "vip", ID: "aud_1"}, {Key: "vip", ID: "aud_2"}}
	}, []string{"held warning.*personasync audience release aud_1;"}},
	{"what an audience is called looks like a flag", func(f *Facts) {
		f.Status.Held = 350
		f.Status.Guard = []GuardedAudience{{Key: "--yes", ID: "aud_1", Held: 350, Since: "2026-03-01T01:00:00Z"}}
	}, []string{"held warning.*personasync audience release -- '--yes';personasync audience discard -- '--yes'"}},
	{"something else is held", func(f *Facts) { f.Status.Held = 2 }, []string{"held warning.*2 changes are held.*outbox list --state held"}},
	{"deletions are held, and not counted as something else", func(f *Facts) {
		f.Status.Held = 3
		f.Status.Deletions = &DeletionStatus{Enabled: true, MaxPerDay: 2, DeletionCounts: domain.DeletionCounts{Held: 3, Parked: 1}}
	}, []string{"deletions warning.*max_deletes_per_day \\(2\\).*3 deletions held, and 1 deletion refused.*outbox retry --reason delete_limit;personasync outbox drop --state held --reason delete_limit"}},
	{"deletions are turned off while some are pending", func(f *Facts) {
		f.Status.Deletions = &DeletionStatus{DeletionCounts: domain.DeletionCounts{Pending: 1, Oldest: f.Now.Add(-time.Hour)}}
	}, []string{"deletions warning.*1 user is to be deleted at MoEngage, and moengage.delete_users is false"}},
	{"the key may not delete", func(f *Facts) {
		f.Status.Deletions = &DeletionStatus{Enabled: true, DeletionCounts: domain.DeletionCounts{Pending: 2, Oldest: f.Now}, MoEngage: Reachability{State: "failing", Stopped: true, LastError: "http_403: no"}}
	}, []string{"deletions warning.*refuses to delete users.*http_403.*2 users are to be deleted.*scope of the API key"}},
	{"a deletion was refused", func(f *Facts) {
		f.Status.Deletions = &DeletionStatus{Enabled: true, DeletionCounts: domain.DeletionCounts{Parked: 1}}
	}, []string{"deletions warning.*refused to delete 1 user"}},
	{"a deletion takes a day", func(f *Facts) {
		f.Status.Deletions = &DeletionStatus{Enabled: true, DeletionCounts: domain.DeletionCounts{Pending: 1, Oldest: f.Now.Add(-25 * time.Hour)}}
	}, []string{"deletions warning.*1 user is to be deleted at MoEngage, the first for 1 d 1 h"}},
	{"deletions that are on their way", func(f *Facts) {
		f.Status.Deletions = &DeletionStatus{Enabled: true, DeletionCounts: domain.DeletionCounts{Pending: 9, Oldest: f.Now.Add(-time.Hour)}, MoEngage: Reachability{State: "failing"}}
	}, nil},
	{"parked, and about to expire", func(f *Facts) {
		f.Status.Parked, f.Status.Expiring = 2100, &store.Expiring{Count: 2000, More: true, First: two}
	}, []string{"parked warning.*2,100 items could not be used or delivered: parked until you decide. Undecided, more than 2,000 expire within a week, the first on 1 March."}},
	{"MoEngage lost something", func(f *Facts) { f.Status.Verify = &VerifyStatus{Compared: 1000, Differ: 11, Worst: "vip", At: two} }, []string{"verify_differs warning.*11 do not hold.*audience verify --repair vip"}},
	{"MoEngage lost something of a key that two computations have", func(f *Facts) {
		f.Computations = []domain.ComputationInfo{{Key: "vip", ID: "aud_1"}, {Key: "vip", ID: "aud_2"}}
		f.Status.Verify = &VerifyStatus{Compared: 1000, Differ: 11, Worst: "vip", WorstID: "aud_2", At: two, Failed: 1, FailedKey: "vip", FailedID: "aud_1", FailedAt: &two, Code: "http_403", Error: "no"}
	}, []string{"verify_differs warning.*personasync audience verify aud_2;personasync audience verify --repair aud_2", "verify_impossible warning.*personasync audience verify aud_1$"}},
	{"nobody of a key that two computations have was compared", func(f *Facts) {
		f.Computations = []domain.ComputationInfo{{Key: "vip", ID: "aud_1"}, {Key: "vip", ID: "aud_2"}}
		f.Status.Verify = &VerifyStatus{Computations: 1, Unproven: 1, UnprovenKey: "vip", UnprovenID: "aud_2", At: two}
	}, []string{"verify_impossible info.*personasync audience verify aud_2$"}},
	{"MoEngage lost next to nothing", func(f *Facts) { f.Status.Verify = &VerifyStatus{Compared: 1000, Differ: 1, Worst: "vip", At: two} }, []string{"verify_differs info.*1 does not hold"}},
	{"systemd handed over no socket", func(f *Facts) {
		f.Process.NoSocket = "personasync.socket is enabled and did not start: see `systemctl status personasync.service`"
		f.Status.Ready, f.Status.Unready = false, f.Process.NoSocket
	}, []string{"socket_missing critical.*deliveries do not arrive: personasync.socket is enabled.*;systemctl status personasync.socket"}},
	{"MoEngage refuses to be read", func(f *Facts) {
		f.Status.Verify = &VerifyStatus{Computations: 3, Failed: 2, FailedKey: "vip", FailedAt: &two, Code: "http_403", Error: "Get User is off"}
	}, []string{"verify_impossible warning.*2 computations could not be verified.*of vip, at 02:00:00 UTC, 1 March, Get User is off.*explain-code http_403;personasync audience verify vip"}},
	{"a verification that compared nobody of those MoEngage was told of", func(f *Facts) {
		f.Status.Verify = &VerifyStatus{Computations: 3, Compared: 7, Unproven: 2, UnprovenKey: "big spenders", At: two}
	}, []string{"verify_impossible info.*last verification of big spenders compared none of the users that MoEngage was told of.*proves nothing.*personasync audience verify 'big spenders'"}},
	{"a verification of what nobody was told of", func(f *Facts) { f.Status.Verify = &VerifyStatus{Computations: 1, Unproven: 1, At: two} }, nil},
	{"a job failed", func(f *Facts) {
		f.Status.FailedJobs = []FailedJob{{Job: "[verify]", FailedAt: "2026-03-01T01:00:00Z", Code: "failed", Error: "no route"}, {Job: "b", FailedAt: "2026-02-01T01:00:00Z"}}
	}, []string{"job_failed warning.*The last run of \\[verify\\], b failed. That of \\[verify\\], at 01:00:00 UTC, 1 March \\(failed\\): no route.*personasync schedule"}},
	{"a scheduled backup failed, and one is good", func(f *Facts) {
		f.Status.Backup = &Backup{Dir: "/mnt/b", Made: "2026-02-28T02:30:00Z", FailedAt: "2026-03-01T01:30:00Z", Error: "there is no room"}
		f.Status.FailedJobs = []FailedJob{{Job: BackupJob, FailedAt: "2026-03-01T01:30:00Z"}}
	}, []string{"backup warning The last scheduled backup failed, at 01:30:00 UTC, 1 March: there is no room. The last good one is of 02:30:00 UTC, 28 February: a restore.*personasync schedule;ls -la /mnt/b"}},
	{"the first backup is overdue", func(f *Facts) { f.Status.Backup = &Backup{Dir: "/mnt/b", Overdue: true} }, []string{"backup warning A scheduled backup is overdue. There is no good backup yet. No run of it has succeeded since"}},
	{"a backup is good", func(f *Facts) { f.Status.Backup = &Backup{Dir: "/mnt/b", Made: "2026-03-01T01:30:00Z"} }, nil},
	{"a receiver of notifications failed once", func(f *Facts) {
		f.Status.Notify = &Notify{Receivers: []Receiver{{Name: "url", Failures: 1, LastError: "it answered 500"}}}
	}, nil},
	{"receivers of notifications take nothing", func(f *Facts) {
		f.Status.Notify = &Notify{Receivers: []Receiver{
			{Name: "url", Failures: 3, Waiting: 2, FailingSince: "2026-03-01T01:00:00Z", LastError: "it answered 404 no_service: make a new one."},
			{Name: "command"}, {Name: "heartbeat", Failures: 2, FailingSince: "2026-03-01T00:30:00Z", LastError: "no answer within 10s"},
		}}
	}, []string{"notify_failing warning Notifications do not arrive since 00:30 UTC, 1 March.*url: it answered 404 no_service: make a new one \\(2 messages are not told\\). heartbeat: no answer within 10s. They are retried.*personasync notify test"}},
	{"lines of the log were lost", func(f *Facts) { f.Process.LinesDropped = 485 }, []string{"log_dropped info.*485 since the start"}},
	{"the clock was set back", func(f *Facts) { f.Process.ClockDoubt = "the clock was set back by 2h0m0s" }, []string{"clock warning.*may be wrong: the clock was set back by 2h.*timedatectl;personasync doctor"}},
	{"no agent writes", func(f *Facts) {
		since := two.Add(-time.Minute)
		f.Process.Store = &Store{Role: RoleDoor, NoWriterSince: &since, NoTerm: "the table is locked"}
	}, []string{"no_writer critical No agent writes the store in PostgreSQL since 01:59 UTC, 1 March: received events are kept, and nothing is applied or sent.*could not take over: the table is locked.*personasync doctor"}},
	{"another agent takes over", func(f *Facts) {
		since := two.Add(-3 * time.Second)
		f.Process.Store = &Store{Role: RoleDoor, NoWriterSince: &since}
	}, nil},
	{"the writer applies nothing", func(f *Facts) {
		f.Process.Store, f.Process.Standstill, f.Status.Unapplied = &Store{Role: RoleDoor, Writer: "db-a"}, two.Add(-3*time.Minute), 1200
	}, []string{"no_writer critical db-a is the writer and has applied none of 1,200 received events since 01:57 UTC.*personasync doctor"}},
	{"PostgreSQL does not answer", func(f *Facts) {
		f.Process.Store = &Store{Role: RoleDoor, Error: "no route"}
	}, nil},
	{"files were sent to another workspace", func(f *Facts) {
		f.Process.Elsewhere = "ACME over http"
	}, []string{"other_workspace critical Nothing is sent: MoEngage's workspace ACME over http was told what this store knows.*moengage.replaces_workspace_id = \"ACME over http\".*personasync config show;systemctl restart personasync;personasync audience reconcile --all --dry-run"}},
	{"an agent would send to another workspace", func(f *Facts) {
		f.Process.Store = &Store{Role: RoleDoor, Writer: "a", Elsewhere: "the store is sent to A"}
	}, []string{"other_workspace warning This agent does not take over: the store is sent to A.*personasync config show;systemctl restart personasync"}},
	{"PostgreSQL was left without a standby", func(f *Facts) {
		f.Process.Store = &Store{Role: RoleWriter, Writer: "a", Unconfirmed: "synchronous_standby_names is empty there", address: "postgres://me@db/x"}
	}, []string{"no_standby critical Events that are answered with 200 are in one place only: synchronous_standby_names is empty there. Bring.*psql postgres://me@db/x -c 'select application_name"}},
	{"a transaction is open for hours", func(f *Facts) {
		f.Process.Store = &Store{Role: RoleWriter, Writer: "a", HorizonAge: 7260, address: "postgres://me@db/x"}
	}, []string{"old_transaction warning A transaction is open in PostgreSQL for 2 h 1 min. What.*psql postgres://me@db/x -c 'select pid, usename"}},
	{"a standby that is gone has a slot", func(f *Facts) {
		f.Process.Store = &Store{Role: RoleWriter, Writer: "a", Keeper: "replication slot b", Kept: 300000, address: "postgres://me@db/x"}
	}, []string{"old_transaction warning The replication slot b keeps what the agent removed in the last 300,000 transactions, so.*psql postgres://me@db/x -c 'select slot_name"}},
	{"runs were missed", func(f *Facts) { f.Process.Missed = []string{"a", "b", "c", "d"} }, []string{"runs_missed warning.*Runs of a, b, c and 1 more.*personasync schedule"}},
}

// TestConditions: whatever is wrong has its sentence and its command, and beside it nothing is called good.
func TestConditions(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range conditionCases {
		t.Run(c.name, func(t *testing.T) {
			f := wellAt()
			c.facts(f)
			got := f.Judge()
			if len(got) != len(c.want) {
				t.Fatalf("judged %+v", got)
			}
			for i, h := range got {
				seen[h.Name+" "+h.Severity] = true
				text := fmt.Sprintf("%s %s %s %s", h.Name, h.Severity, h.Text, strings.Join(h.Commands, ";"))
				if !regexp.MustCompile(c.want[i]).MatchString(text) {
					t.Errorf("judged\n%s\nwant\n%s", text, c.want[i])
				}
				if len(h.Commands) == 0 || h.Text != strings.TrimSpace(h.Text) || strings.Contains(h.Text, "  ") {
					t.Errorf("not fit to be read: %+v", h)
				}
				if !slices.ContainsFunc(Kinds, func(k Kind) bool {
					return k.Check != "" && k.Name == h.Name && slices.Contains(k.Severities, h.Severity)
				}) {
					t.Errorf("%s %s is not in the list", h.Name, h.Severity)
				}
			}
		})
	}
	for _, k := range Kinds {
		for _, severity := range k.Severities {
			if k.judge != nil && !seen[k.Name+" "+severity] {
				t.Errorf("there is no example of %s, %s", k.Name, severity)
			}
		}
	}
}
