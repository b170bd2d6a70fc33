package syncer

import "cmp"

// Explanation is a row of the failure table with its consequences for an operator.
type Explanation struct {
	Meaning
	Data     string `json:"data"`     // effect on the request's changes
	Lane     string `json:"lane"`     // effect on all other pending changes
	Attempts string `json:"attempts"` // whether attempts are counted
	Do       string `json:"do"`       // advice for the operator
}

// Explanation returns m with its consequences.
func (m Meaning) Explanation() Explanation {
	e := consequences[m.act]
	e.Meaning = m
	own := particular[m.Code]
	e.Data, e.Lane, e.Attempts, e.Do = cmp.Or(own.Data, e.Data), cmp.Or(own.Lane, e.Lane), cmp.Or(own.Attempts, e.Attempts), cmp.Or(own.Do, e.Do)
	return e
}

// firewall is the advice about MoEngage's API Firewall for a 4xx.
const firewall = "If it is one road alone, look at Settings, Account, Security, API Firewall in MoEngage: it shuts categories of APIs, each by itself, for hosts that are not on its list. Then `personasync flush` tries at once."

// particular has the texts of a code that differ from those of its action.
var particular = map[string]Explanation{
	"http_401": {Do: "Check moengage.workspace_id, the API key and moengage.data_center, then reload with `systemctl reload personasync` (`kill -HUP` without systemd): the agent then tries at once. `personasync doctor` tests the credentials."},
	"http_403": {Do: "Look in MoEngage whether the account is suspended and whether the key may use this API. " + firewall},
	"http_404": {Do: "Check moengage.base_url and moengage.data_center with `personasync config show`. " + firewall},
	codeAddress: {Do: "In MoEngage, have this host's public address put on the list of IP whitelisting for Data APIs (by support ticket), and set moengage.forwarded_for " +
		"to the same address in agent.toml. Then `personasync config check`, and reload with `systemctl reload personasync` (`kill -HUP` without systemd)."},
	codeUnexpected: {Do: "See what it said with `personasync status`. " + firewall},
	codeReadBack: {Data: "was delivered before; whether MoEngage holds it is not known", Lane: "goes on", Do: "If `personasync status` says that MoEngage takes requests, ask MoEngage's support to enable Get User for the workspace. " +
		"Then `personasync audience verify KEY`. " + firewall},
}

// consequences has the texts of each action.
var consequences = map[action]Explanation{
	actTake: {
		Data: "delivered, and closed", Lane: "goes on", Attempts: "counted as one",
		Do: "Nothing. That MoEngage applied it is seen by reading it back: `personasync audience verify KEY`.",
	},
	actRetry: {
		Data: "stays, certainly not taken", Lane: "goes on with one request at a time until one is answered", Attempts: "counted; without end unless retry.max_attempts says otherwise",
		Do: "Nothing, it goes on by itself. If it lasts, `personasync status` says since when: look at the network and at MoEngage's status page.",
	},
	actUnsure: {
		Data: "stays, and may have been taken: attributes are sent again, events may arrive twice", Lane: "goes on with one request at a time until one is answered", Attempts: "counted; without end unless retry.max_attempts says otherwise",
		Do: "Nothing, it goes on by itself. A repeated event is known by its change_id.",
	},
	actStop: {
		Data: "stays", Lane: "stops, and tries one request a minute until it is answered", Attempts: "none is spent",
		Do: "Fix the cause. It goes on by itself; `personasync flush` tries at once.",
	},
	actSplit: {
		Data: "goes in smaller requests; a single element that is still too large is parked", Lane: "goes on", Attempts: "not counted for those that fit",
		Do: "Lower moengage.max_request_bytes if it happens often.",
	},
	actBisect: {
		Data: "the offender is parked, the others are delivered", Lane: "goes on", Attempts: "counted for the offender alone",
		Do: "Look at what is parked: `personasync outbox list --state parked`, then `personasync outbox show ID`. Mend the cause, then `personasync outbox retry ID`.",
	},
	actSuspect: {
		Data: "an offender is parked if another element was accepted beside it, else all stays", Lane: "stops if everything is refused; users who were never refused go first", Attempts: "counted for an offender alone",
		Do: "If everything is refused, look at the account in MoEngage. If something is parked: `personasync outbox show ID`.",
	},
	actPark: {
		Data: "parked, with its bytes", Lane: "goes on", Attempts: "none is spent where it never became a request",
		Do: "See it with `personasync outbox show ID`. Mend the cause, then `personasync outbox retry ID`; or give it up with `personasync outbox drop ID`.",
	},
	actWarn: {
		Data: "delivered, and MoEngage keeps less of it than was sent", Lane: "goes on", Attempts: "counted as one",
		Do: "Shorten it where Segment makes it, or leave it out with forward_traits. `personasync audience verify KEY` shows what MoEngage kept.",
	},
	actStay: {
		Data: "stays", Lane: "as it was", Attempts: "none is spent",
		Do: "Nothing.",
	},
}
