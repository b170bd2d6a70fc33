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
const firewall = "If only one endpoint is affected, look at Settings, Account, Security, API Firewall in MoEngage: it blocks each category of APIs separately for hosts that are not on its list. Then `personasync flush` tries at once."

// neverWorked is the advice about a failure that a wrong address can cause as well as an outage.
const neverWorked = "If it never worked from here, or moengage.base_url or moengage.data_center has just been changed, look at both with `personasync config show`."

// particular has the texts of a code that differ from those of its action.
var particular = map[string]Explanation{
	codeUnreachable: {Do: neverWorked + " Else nothing: it recovers without help. " +
		"If it lasts, look at the network and at MoEngage's status page. `personasync status` says since when it fails."},
	codeDNS: {Do: "Look at moengage.base_url and moengage.data_center with `personasync config show`, and at this host's name servers (`cat /etc/resolv.conf`). `personasync flush` tries at once."},
	codeTLS: {Do: "The answer names the fault. Of the certificate: look at moengage.base_url with `personasync config show`, at the clock with `timedatectl`, and whether the package ca-certificates is installed. " +
		"A first record that is no TLS: base_url says https and the host speaks http, or a proxy intercepts. `personasync flush` tries at once."},
	codeRedirected: {Do: "Set moengage.base_url to the address itself, or moengage.data_center to that of the workspace: `personasync config show` has both. Then reload with `systemctl reload personasync` (`kill -HUP` without systemd)."},
	"http_409":     {Do: "Compare moengage.workspace_id and the API key with MoEngage: Settings, Account, APIs. Then reload with `systemctl reload personasync` (`kill -HUP` without systemd). `personasync doctor` tests the credentials."},
	"http_405":     {Do: "Check moengage.base_url with `personasync config show`. `personasync flush` tries at once."},
	"http_415":     {Do: "Look for a proxy on the way that changes Content-Type: `personasync config show` has moengage.base_url. `personasync flush` tries at once."},
	codeLost:       {Do: neverWorked + " Another cause is a host that speaks https where base_url says http. Else nothing: it recovers without help. A repeated event has the same change_id."},
	codeTimeout:    {Do: neverWorked + " Else nothing: it recovers without help. A repeated event has the same change_id."},
	codeSaysFail: {Do: "`personasync status` shows what the answer says. If it lasts and speaks of the account, check moengage.workspace_id, the API key and moengage.data_center; `personasync doctor` tests them. " +
		"Else nothing: it recovers without help. A repeated event has the same change_id."},
	codeUnreadable: {Do: "If it lasts, something other than MoEngage's API answers: look at moengage.base_url with `personasync config show`, and at a proxy on the way. " +
		"Else nothing: it recovers without help. A repeated event has the same change_id."},
	"http_401": {Do: "Check moengage.workspace_id, the API key and moengage.data_center, then reload with `systemctl reload personasync` (`kill -HUP` without systemd): the agent then tries at once. `personasync doctor` tests the credentials."},
	"http_403": {Do: "Look in MoEngage whether the account is suspended and whether the key may use this API. " + firewall},
	"http_404": {Do: "Check moengage.base_url and moengage.data_center with `personasync config show`. " + firewall},
	codeAddress: {Do: "Ask MoEngage's support to add this host's public address to the IP whitelisting for Data APIs, and set moengage.forwarded_for " +
		"to the same address in agent.toml. Then `personasync config check`, and reload with `systemctl reload personasync` (`kill -HUP` without systemd)."},
	codeUnexpected: {Do: "`personasync status` shows the answer. " + firewall},
	codeReadBack: {Data: "was delivered before; it is unknown whether MoEngage stores it", Lane: "goes on", Do: "If `personasync status` says that MoEngage accepts requests, ask MoEngage's support to enable Get User for the workspace. " +
		"Then `personasync audience verify KEY`. " + firewall},
}

// consequences has the texts of each action.
var consequences = map[action]Explanation{
	actAccept: {
		Data: "delivered", Lane: "goes on", Attempts: "counted as one",
		Do: "Nothing. To see whether MoEngage applied it, read it back with `personasync audience verify KEY`.",
	},
	actRetry: {
		Data: "stays pending; it was not accepted", Lane: "continues with one request at a time until one is answered", Attempts: "counted; unlimited unless retry.max_attempts is set",
		Do: "Nothing; it recovers without help. If it lasts, look at the network and at MoEngage's status page. `personasync status` says since when it fails.",
	},
	actUncertain: {
		Data: "stays pending and may have been accepted: attributes are sent again, events may arrive twice", Lane: "continues with one request at a time until one is answered", Attempts: "counted; unlimited unless retry.max_attempts is set",
		Do: "Nothing; it recovers without help. A repeated event has the same change_id.",
	},
	actStop: {
		Data: "stays pending", Lane: "stops, and probes with one request a minute until it is answered", Attempts: "none is used up",
		Do: "Fix the cause. Sending then continues without help; `personasync flush` tries at once.",
	},
	actSplit: {
		Data: "goes in smaller requests; a single element that is still too large is parked", Lane: "goes on", Attempts: "not counted for those that fit",
		Do: "Lower moengage.max_request_bytes if it happens often.",
	},
	actBisect: {
		Data: "the bad element is parked, the others are delivered", Lane: "goes on", Attempts: "counted for the bad element only",
		Do: "List the parked changes with `personasync outbox list --state parked`, then `personasync outbox show ID`. Fix the cause, then `personasync outbox retry ID`.",
	},
	actConfirm: {
		Data: "a bad element is parked if another was accepted beside it; otherwise all stay pending", Lane: "stops if everything is refused; users who were never refused go first", Attempts: "counted for a bad element only",
		Do: "If everything is refused, look at the account in MoEngage. If a change is parked, see `personasync outbox show ID`.",
	},
	actPark: {
		Data: "parked, with its bytes", Lane: "goes on", Attempts: "none is used up if it never became a request",
		Do: "See it with `personasync outbox show ID`. Fix the cause, then `personasync outbox retry ID`; or remove it with `personasync outbox drop ID`.",
	},
	actWarn: {
		Data: "delivered, but MoEngage stores only a part", Lane: "goes on", Attempts: "counted as one",
		Do: "Shorten it in Segment, or leave it out with forward_traits. `personasync audience verify KEY` shows the stored value.",
	},
	actNotSent: {
		Data: "stays pending", Lane: "as it was", Attempts: "none is used up",
		Do: "Nothing.",
	},
}
