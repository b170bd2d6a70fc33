package syncer

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"personasync/sync/internal/payload"
)

// action is the sender's reaction to an answer.
type action uint8

const (
	actAccept    action = iota // accepted: close the changes
	actRetry                   // not accepted: retry with backoff
	actUncertain               // outcome unknown: mark as uncertain and retry with backoff
	actStop                    // says nothing about the data: open the circuit breaker and probe
	actSplit                   // too large: halve the request
	actBisect                  // bad data: bisect, and park the bad element
	actConfirm                 // bad data or account: bisect, but park only with proof
	actPark                    // cannot become a request: park
	actWarn                    // send it anyway and warn
	actNotSent                 // not sent: the sender is stopping or holding back
)

// Meaning is one row of the failure table: an answer of MoEngage, or its absence, and its consequence.
type Meaning struct {
	Code  string `json:"code"`  // also the reason of a change that is pending or parked because of it
	Means string `json:"means"` // what happened
	Agent string `json:"agent"` // the agent's reaction

	act action
}

// Codes used in the program.
const (
	codeAccepted    = "accepted"
	codeUnreachable = "unreachable"
	codeLost        = "connection_lost"
	codeTimeout     = "timeout"
	codeDNS         = "dns"
	codeTLS         = "tls"
	codeRedirected  = "redirected"
	codeUnexpected  = "unexpected_answer"
	codeServerError = "http_5xx"
	codeUnreadable  = "unreadable_answer"
	codeSaysFail    = "answered_fail"
	codeData        = "data_refused"
	codeAccount     = "account_refused"
	codeUnexplained = "unexplained_400"
	codeTooLarge    = "too_large"
	codeUnencodable = "unencodable"
	codeAttempts    = "attempts_exhausted"
	codeNotSent     = "not_sent"
	codeAddress     = "ip_validation_required"
	codeReadBack    = "get_user_refused"
	codeNoSuchUser  = "not_found"
)

// Reactions shared by several meanings.
const (
	doRetry     = "Retries with backoff and jitter, at least once a minute while everything fails, or after Retry-After. Sends one request at a time until one is answered. Gives nothing up."
	doUncertain = "Marks the changes as uncertain: attributes are sent again, and events may arrive twice. Retries with backoff and jitter, at least once a minute while everything fails. No further users are tried once as many requests are uncertain as may be in flight. If the failure continues, the requests get smaller, so that a payload which makes MoEngage fail delays no other user."
	doStop      = "Stops sending, parks nothing and uses up no attempt. Probes with one request a minute and continues once it is answered."
	doWarn      = "Sends it anyway and logs each name once."
	doPark      = "Parks the change with this reason. After fixing the cause, use `personasync outbox retry`."
)

// failureTable is the failure table: every answer that the sender distinguishes, with the action for it. Any other
// answer is codeUnexpected, which stops sending: an unknown answer must not cost data.
var failureTable = []Meaning{
	{codeAccepted, "MoEngage accepted the request (2xx, status success). It means queued, not applied.", "Records the changes as delivered.", actAccept},

	{"http_408", "MoEngage timed out while reading the request and did not accept it.", doRetry, actRetry},
	{"http_425", "MoEngage did not accept the request this early.", doRetry, actRetry},
	{"http_429", "The limit of the workspace is used up, perhaps by another system. Nothing was accepted.", "Waits as Retry-After or x-ratelimit-reset says, then continues. Gives nothing up. If it happens often, lower users_per_minute and events_per_minute.", actRetry},
	{"http_503", "MoEngage is not available and did not accept the request.", doRetry, actRetry},
	{codeUnreachable, "No connection to MoEngage could be made, so nothing was sent.", doRetry, actRetry},

	{"http_500", "MoEngage failed while handling the request. The request may have been accepted.", doUncertain, actUncertain},
	{"http_502", "A gateway in front of MoEngage got an invalid answer. The request may have been accepted.", doUncertain, actUncertain},
	{"http_504", "A gateway in front of MoEngage timed out. The request may have been accepted.", doUncertain, actUncertain},
	{codeServerError, "MoEngage, or a gateway in front of it, failed with another 5xx status. The request may have been accepted.", doUncertain, actUncertain},
	{codeLost, "The connection broke after the request may have been sent, before an answer was read.", doUncertain, actUncertain},
	{codeTimeout, "No answer came within moengage.timeout. The request may have been accepted.", doUncertain, actUncertain},
	{"interrupted", "The agent stopped while the request was under way, so no answer was read.", "Marks the changes as uncertain at the next start, and sends them again: events may arrive twice.", actUncertain},
	{codeUnreadable, "A 2xx status came with a body that is not MoEngage's JSON, as a proxy or a captive portal would answer.", doUncertain, actUncertain},
	{codeSaysFail, "A 2xx status came with a body that does not say success.", doUncertain, actUncertain},

	{"http_401", "MoEngage does not accept the credentials: wrong workspace id, wrong or regenerated API key, or the wrong data center.", doStop + " Check moengage.workspace_id, api_key and data_center.", actStop},
	{"http_403", "MoEngage accepts the credentials but not this use of them: account suspended, key without the Data scope, or this host's address is not on the workspace's allow-list.", doStop, actStop},
	{codeAddress, "MoEngage's IP whitelisting for Data APIs refuses this host: its address is not on the workspace's list, or the request does not name it in X-Forwarded-For.", doStop, actStop},
	{"http_409", "The workspace id in the address and in the credentials differ, or the API key is not set in MoEngage.", doStop + " Check moengage.workspace_id and api_key.", actStop},
	{"http_404", "The host has no such address: wrong base_url or data center.", doStop + " Check moengage.base_url and data_center.", actStop},
	{"http_405", "The address does not accept POST: wrong base_url.", doStop + " Check moengage.base_url.", actStop},
	{"http_415", "The content type was refused. A proxy may have changed it.", doStop, actStop},
	{codeRedirected, "The answer redirects to another address. Customers' data is not sent to an address in an answer.", doStop + " Check moengage.base_url.", actStop},
	{codeDNS, "The name of MoEngage's host could not be resolved.", doStop + " Check moengage.base_url or data_center, and this host's DNS.", actStop},
	{codeTLS, "No trusted TLS connection could be made: certificate, clock or a proxy that intercepts.", doStop, actStop},
	{codeUnexpected, "MoEngage does not document this answer.", doStop, actStop},

	{codeNoSuchUser, "MoEngage has no user of this id, so there is nothing to delete (400 with Not Found). It is the answer to a delete alone.", "Records the deletion as delivered, with this reason.", actAccept},

	{codeReadBack, "MoEngage refuses to read users back. Since August 2026 Get User is off until MoEngage's support enables it for the workspace; a rule of the API Firewall or the scope of the key can refuse it too.", "Records the verification as failed; it proves nothing. Sending continues.", actStop},

	{"http_413", "The request was too large for MoEngage.", "Halves the request. Parks a single element that is still too large as too_large. MoEngage would not refuse an element below 64 KB for its size, so such an element is parked only if another is accepted beside it. If everything is refused, as by a proxy, stops sending, parks nothing, and probes once a minute.", actSplit},
	{codeData, "MoEngage refused the data (400 with MissingAttributeError, AttributeError, ArrayFieldError or TypeError), without naming the bad element.", "Finds the bad element by bisection, parks it with MoEngage's message, and delivers the others without counting an attempt. However many are refused, the others are still sent.", actBisect},
	{codeAccount, "MoEngage refused the account or the configuration (400 with Blacklisted, InvalidParams or ParamsRequired).", "Parks a change only if another was accepted beside or after it. If everything is refused, stops sending, parks nothing, and probes at least once a minute, with users who were never refused first.", actConfirm},
	{codeUnexplained, "MoEngage answered 400 in an undocumented way, or without JSON.", "Bisects as for data_refused, but parks a change only if another was accepted beside or after it. If everything is refused, stops sending, parks nothing, and probes at least once a minute, with users who were never refused first.", actConfirm},

	{codeTooLarge, "The element alone is larger than moengage.max_request_bytes, or than MoEngage allows.", doPark, actPark},
	{codeUnencodable, "The value or the properties are not valid JSON, so no request can contain them.", doPark, actPark},
	{codeAttempts, "The change was tried retry.max_attempts times in requests of its own.", doPark, actPark},

	{payload.ValueTooLong, "MoEngage keeps the first 512 characters of a string, and this value is longer.", doWarn, actWarn},
	{payload.URLTooLong, "MoEngage drops a URL of more than 512 characters although it answers 200.", doWarn, actWarn},
	{payload.TextBroken, "The text contains half of a UTF-16 surrogate pair (such as \\ud83d), because it was cut inside a character, often an emoji.", "Sends U+FFFD in its place and logs each name once.", actWarn},
	{payload.ArrayTooLong, "MoEngage allows 50 elements in an array, and this value has more.", doWarn, actWarn},
	{payload.ArrayMixed, "MoEngage requires all elements of an array to have one type, and this value has several.", doWarn, actWarn},
	{payload.NameReserved, "MoEngage reserves or blocks this name and drops its data: status, source, user_id, id, and any name that begins with moe_, among others.", "Sends it with the prefix segment_ and logs each name once.", actWarn},
	{payload.NameCut, "MoEngage keeps the first 200 characters of a name, and this one is longer.", doWarn, actWarn},
	{payload.AttributeLimit, "A workspace has 256 custom user attributes, and this agent alone has sent more since its start; MoEngage drops new ones although it answers 200.", doWarn + " Use send = \"list\" or \"cohort\", or ask MoEngage for more.", actWarn},
	{payload.EventNameLimit, "A workspace has 512 names of events, and this agent alone has sent more since its start; MoEngage drops new ones although it answers 200.", doWarn + " Use send = \"event\", which has one name for all audiences, or ask MoEngage for more.", actWarn},
	{payload.CohortLimit, "A workspace has 1,000 active segments of all kinds, and this agent alone has filled more since its start.", doWarn + " Use send = \"list\" for some, or archive segments in MoEngage.", actWarn},
	{payload.EventAttributes, "MoEngage keeps 100 attributes of an event.", "Leaves out the properties beyond that and logs each name once.", actWarn},

	{codeNotSent, "The request was not sent, because the agent was stopping or sending had stopped meanwhile.", "Leaves the changes pending; uses up no attempt.", actNotSent},
}

// meanings finds a row by its code.
var meanings = func() map[string]*Meaning {
	m := make(map[string]*Meaning, len(failureTable))
	for i := range failureTable {
		m[failureTable[i].Code] = &failureTable[i]
	}
	return m
}()

// errorTypes classifies the documented types of a 400. Only their letters are compared, because MoEngage's
// pages spell them differently.
var errorTypes = map[string]string{
	"missingattributeerror": codeData,
	"attributeerror":        codeData,
	"arrayfielderror":       codeData,
	"typeerror":             codeData,
	"blacklisted":           codeAccount,
	"invalidparams":         codeAccount,
	"paramsrequired":        codeAccount,
}

// documentedTypes classifies the other documented error types. Their statuses already determine the action, so
// only Explain uses them, except for codeAddress.
var documentedTypes = map[string]string{
	"authenticationrequired": "http_401", "blockedclient": "http_403", "accountsuspended": "http_403", "accounttemporarilysuspended": "http_403",
	"ipvalidationrequired": codeAddress, "authenticationmismatch": "http_409", "appsecretkeyisnotset": "http_409",
	"payloadtoolarge": "http_413", "ratelimitsexceeded": "http_429", "ratelimitexceeded": "http_429", "ratelimiterror": "http_429",
	"servererror": "http_500", "limitbreached": codeUnexplained, "malformedjson": codeUnexplained, "emptyrequestbody": codeUnexplained,
	"bodytypeisnotjson": codeUnexplained, "missingheadervalue": codeUnexplained, "notfound": "http_404",
}

// Explain returns the meaning of a code and whether it is known. It accepts the codes of [Codes], a bare HTTP
// status ("503"), and MoEngage's documented error types ("MissingAttributeError", "IP Validation Required").
func Explain(code string) (Meaning, bool) {
	code = strings.ToLower(strings.TrimSpace(code))
	if row, ok := meanings[code]; ok {
		return *row, true
	}
	if of := cmp.Or(errorTypes[letters(code)], documentedTypes[letters(code)]); of != "" {
		return *meanings[of], true
	}
	status, err := strconv.Atoi(strings.TrimPrefix(code, "http_"))
	if err != nil || status < 100 || status > 599 {
		return Meaning{}, false
	}
	return *byStatus(status), true
}

// Codes returns the codes of the failure table in its order.
func Codes() []string {
	codes := make([]string, len(failureTable))
	for i := range failureTable {
		codes[i] = failureTable[i].Code
	}
	return codes
}

// byStatus returns the row of an HTTP status. The body may change the result.
func byStatus(status int) *Meaning {
	if row, ok := meanings["http_"+strconv.Itoa(status)]; ok {
		return row
	}
	switch {
	case status == http.StatusBadRequest:
		return meanings[codeUnexplained]
	case status/100 == 2:
		return meanings[codeAccepted]
	case status/100 == 3:
		return meanings[codeRedirected]
	case status/100 == 5:
		return meanings[codeServerError]
	}
	return meanings[codeUnexpected]
}

// letters reduces an error type to the letters that all of MoEngage's spellings share.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}
