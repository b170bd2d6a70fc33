package agent

import (
	"personasync/scheduler"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// ExplainCode says what a code means, what the agent does about it and what to do. A code is an answer of MoEngage, from
// the table that the sender works by, or a reason of our own. ok is false for an unknown code.
func ExplainCode(code string) (e syncer.Explanation, ok bool) {
	if m, known := syncer.Explain(code); known {
		return m.Explanation(), true
	}
	for i := range reasons {
		if reasons[i].code == code {
			return reasons[i].explanation(), true
		}
	}
	return e, false
}

// ExplainCodes is ExplainCode of every code: MoEngage's answers in the order of their table, then our own reasons.
func ExplainCodes() []syncer.Explanation {
	var all []syncer.Explanation
	for _, code := range syncer.Codes() {
		e, _ := ExplainCode(code)
		all = append(all, e)
	}
	for i := range reasons {
		all = append(all, reasons[i].explanation())
	}
	return all
}

// reason is a code of ours for an event, a change or a job that stops before MoEngage is asked.
type reason struct {
	code  string
	means string
	do    string
	held  bool // a change that is held; else an event, or a change, that is parked

	leaves   bool // a change that is held and leaves by itself
	withheld bool // a change that is closed and not sent

	job bool // a run of a scheduled job, or a verification, that failed
}

// retryEvent is the last step of a remedy for parked events.
const retryEvent = " Then `personasync outbox retry --reason CODE` reads the events again."

// mapWhole is the remedy for the most frequent mistake in a mapping.
const mapWhole = "Map the whole event ($.) in Segment's webhook settings."

var reasons = []reason{
	{code: "undetermined", means: "The event names an audience and does not say whether the user is in it. That is never taken for an exit.", do: "Map traits and properties whole in Segment's webhook settings." + retryEvent},
	{code: "missing_key", means: "context.personas has no computation_key, so nothing says which computation the event is about.", do: mapWhole + retryEvent},
	{code: "missing_name", means: "The event is sent on by itself, and has neither a name nor a membership that would give it one.", do: "Map the event's name in Segment's webhook settings." + retryEvent},
	{code: "unknown_class", means: "context.personas has no computation_class, and nothing else shows the class: no audience_key or trait_key, no id, and no computation known by the key. Or it has a class that is none of audience, trait and journey_step.", do: "Map the whole event ($.) in Segment's webhook settings; install a newer version if Segment has a new class." + retryEvent},
	{code: "unknown_type", means: "Membership and traits come in identify, track and group calls, and this is another.", do: "Look at what builds these events." + retryEvent},
	{code: "class_conflict", means: "The event is of another class than the computation it names: a trait's event with an audience's id, for example. It changed nothing.", do: "Look at what builds these events; if the computation was made by mistake, `personasync audience forget KEY` removes it." + retryEvent},
	{code: "ambiguous_key", means: "Several computations may be meant by the space, the id and the key that the event names.", do: "Send context.personas along. " + mapWhole + retryEvent},
	{code: "no_identifier", means: "The event has no userId, no anonymousId and no e-mail address, so it is about nobody.", do: "Choose an identifier for this destination in Segment." + retryEvent},
	{code: "anonymous", means: "The event has an anonymousId and no userId.", do: "Set anonymous = \"use_anonymous_id\" or \"ignore\" in [defaults] or in the computation's section." + retryEvent},
	{code: "email_only", means: "The event names its user by an e-mail address alone.", do: "Set email_only = \"use_email\" or \"ignore\" in [defaults] or in the computation's section." + retryEvent},
	{code: "bad_user_id", means: "The id of the user is neither a text nor a number, or has control characters or half a character in it: no command could name the user, and two users could look like one.", do: "Correct the mapping of the id in Segment." + retryEvent},
	{code: "id_blocked", means: "The customer id is a placeholder: MoEngage refuses it for everybody (such as null, 0, unknown, user_id), or programs write it in place of a missing id (undefined, NaN).", do: "Correct the mapping of the id in Segment." + retryEvent},
	{code: "id_too_short", means: "MoEngage requires customer ids of more than one character.", do: "Correct the mapping of the id in Segment." + retryEvent},
	{code: "id_too_long", means: "The customer id is longer than 512 bytes.", do: "Correct the mapping of the id in Segment." + retryEvent},
	{code: "id_invalid_utf8", means: "The customer id is not valid UTF-8.", do: "Correct the mapping of the id in Segment." + retryEvent},
	{code: "bad_value", means: "The value of a computed trait is, or holds, a number beyond what a double holds (1.8e308), which readers of JSON refuse or make infinity of. Beside a membership, or other columns, such a value is left out and does not park the event.", do: "Look at what computes the value. The number stays in this event, so reading it again changes nothing: the next event about the user says anew what holds, and `personasync outbox drop ID` removes this one."},
	{code: "account_level", means: "The event is about an account, and MoEngage knows users only.", do: "Turn on identify or track calls for this audience in Segment."},
	{code: "no_values", means: "The event of a trait has no value.", do: "Map traits and properties whole in Segment's webhook settings." + retryEvent},
	{code: "too_many_values", means: "The row of a SQL trait has more than 1,000 columns; Segment's have at most 25.", do: "Look at what builds these events." + retryEvent},
	{code: "too_many_names", means: "The event names a computation, a column or a trait that is not known yet, and 32,768 of them are known, the most there may be.", do: "Find out what makes them up, and rotate its write key; name what you want in forward_traits instead of \"*\". `personasync audience forget KEY` gives names back that nothing refers to." + retryEvent},
	{code: "name_too_long", means: "The name of a computation or of a column has more than 512 bytes.", do: "Look at what builds these events: Segment's own names are short." + retryEvent},
	{code: "too_deep", means: "The event's JSON is nested too deeply to be read.", do: "Look at what builds these events."},
	{code: "invalid_utf8", means: "The event is not valid UTF-8, or a name of its computation has control characters or half a character in it.", do: "Look at what changes events on their way from Segment."},
	{code: "invalid_json", means: "The item of a batch is not JSON.", do: "Look at what changes events on their way from Segment."},
	{code: "not_an_object", means: "The item of a batch is no JSON object.", do: "Look at what builds these events."},
	{code: "unverified_delete", means: "A delete came that neither a signature nor a token covers: Segment signs the first event of an array only.", do: "Set ingest.bearer_token and the Authorization header in Segment's webhook settings; carry this one out with `personasync user forget ID` if it is meant."},
	{code: "no_user_anon_id", means: "The item of a batch has neither userId nor anonymousId, which Segment's Tracking API refuses.", do: "Correct what sends these events."},
	{code: "no_event_name", means: "The track call of a batch has no event name, which Segment's Tracking API refuses.", do: "Correct what sends these events."},
	{code: "event_too_large", means: "The item of a batch has more than 32 KB, which Segment's Tracking API refuses.", do: "Send less in an event."},
	{code: "corrupt", means: "The checksum of the event's record does not hold: the disk changed it after it was written.", do: "Run `personasync db check`, and look at the disk. Have Segment replay the time in question."},

	{code: "mass_exit", held: true, means: "More members left the audience at once than [guard] allows, so its exits wait for a decision.", do: "`personasync audience release KEY` sends them, `personasync audience discard KEY` makes the users members again."},
	{code: "delete_limit", held: true, means: "More users than moengage.max_deletes_per_day were to be deleted at MoEngage on one day. They are erased here, and stay at MoEngage until you decide.", do: "Find out who asked: `personasync user deletions --state held`. `personasync outbox retry --reason delete_limit` deletes them for good, `personasync outbox drop --state held --reason delete_limit` leaves them at MoEngage."},
	{code: "key_conflict", held: true, means: "Another computation, known before, is sent under the same name at MoEngage; both would overwrite each other.", do: "`personasync audience adopt KEY ID` if it continues the other one; else give the two different names in the configuration."},

	{code: domain.ReasonRollout, leaves: true, means: "The user is not in the computation's share or only_users_file, and MoEngage was never told of them.", do: "To have it sent, raise share in the configuration and reload it: docs/go-live.md. Otherwise nothing."},
	{code: domain.ReasonPaused, leaves: true, means: "An operator paused the computation (`personasync outbox pause --computation KEY`).", do: "Nothing, or `personasync outbox resume --computation KEY`. `personasync status` says who paused it, since when, until when and why."},
	{code: domain.ReasonHoldout, withheld: true, means: "The user is in the computation's holdout, the control group that MoEngage is never told of.", do: "Nothing. `personasync user show ID` has the user's share; docs/go-live.md has the query for all of them."},
	{code: "consent", withheld: true, means: "The user has not given the consent that the computation asks for (consent in the configuration).", do: "`personasync user show ID` says what the user has given, since when and by which event. It is sent as soon as they give it; nothing needs to be done."},

	{code: scheduler.CodeFailed, job: true, means: "A run of a scheduled job, or a verification, failed for a reason that is no answer of MoEngage.", do: "Read the error beside it: `personasync schedule` has it, and the log."},
	{code: scheduler.CodePanic, job: true, means: "A run of a scheduled job failed by a fault of the program.", do: "Report it, with the trace in the log. The agent goes on."},
}

func (r *reason) explanation() syncer.Explanation {
	e := syncer.Explanation{
		Data: "parked, with its bytes", Lane: "goes on", Attempts: "none is used up", Do: r.do,
		Meaning: syncer.Meaning{Code: r.code, Means: r.means, Agent: "Parks it with this reason. It blocks nothing else."},
	}
	if r.job {
		e.Data, e.Agent = "no change is touched", "Records the run as failed, and runs the job again at its next time."
	}
	if r.held {
		e.Data, e.Agent = "held", "Holds the change until it is decided. It blocks nothing else."
	}
	if r.leaves {
		e.Data, e.Agent = "held", "Holds the change until the share reaches the user, or the pause ends, and sends it then. Of a value that changes meanwhile, only the last is sent."
	}
	if r.withheld {
		e.Data, e.Agent = "withheld", "Tells MoEngage nothing, or \"no member\" if it was told before."
	}
	return e
}
