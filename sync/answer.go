package syncer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"personasync/store/domain"
	"personasync/sync/internal/payload"
)

// action is the sender's reaction to an answer.
type action uint8

const (
	actTake    action = iota // accepted: close the changes
	actRetry                 // not accepted: retry with backoff
	actUnsure                // outcome unknown: mark as uncertain and retry with backoff
	actStop                  // says nothing about the data: open the circuit breaker and probe
	actSplit                 // too large: halve the request
	actBisect                // bad data: bisect, and park the bad element
	actSuspect               // bad data or account: bisect, but park only with proof
	actPark                  // cannot become a request: park
	actWarn                  // send it anyway and warn
	actStay                  // not sent: the sender is stopping or holding back
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
	codeStay        = "not_sent"
	codeAddress     = "ip_validation_required"
	codeReadBack    = "get_user_refused"
)

// Reactions shared by several rows.
const (
	doRetry  = "Retries with backoff and jitter, at least once a minute while everything fails, or after Retry-After. Sends one request at a time until one is answered. Gives nothing up."
	doUnsure = "Marks the changes as uncertain: attributes are sent again, and events may arrive twice. Retries with backoff and jitter, at least once a minute while everything fails. No further users are tried once as many requests are uncertain as may be in flight. If the failure continues, the requests get smaller, so that a payload which makes MoEngage fail delays no other user."
	doStop   = "Stops sending, parks nothing and uses up no attempt. Probes with one request a minute and continues once it is answered."
	doWarn   = "Sends it anyway and logs each name once."
	doPark   = "Parks the change with this reason. After fixing the cause, use `personasync outbox retry`."
)

// table is the failure table: every answer that the sender distinguishes, with the action for it. Any other
// answer is codeUnexpected, which stops sending: an unknown answer must not cost data.
var table = []Meaning{
	{codeAccepted, "MoEngage accepted the request (2xx, status success). It means queued, not applied.", "Records the changes as delivered.", actTake},

	{"http_408", "MoEngage timed out while reading the request and did not accept it.", doRetry, actRetry},
	{"http_425", "MoEngage did not accept the request this early.", doRetry, actRetry},
	{"http_429", "The limit of the workspace is used up, perhaps by another system. Nothing was accepted.", "Waits as Retry-After or x-ratelimit-reset says, then continues. Gives nothing up. If it happens often, lower users_per_minute and events_per_minute.", actRetry},
	{"http_503", "MoEngage is not available and did not accept the request.", doRetry, actRetry},
	{codeUnreachable, "No connection to MoEngage could be made, so nothing was sent.", doRetry, actRetry},

	{"http_500", "MoEngage failed while handling the request. The request may have been accepted.", doUnsure, actUnsure},
	{"http_502", "A gateway in front of MoEngage got an invalid answer. The request may have been accepted.", doUnsure, actUnsure},
	{"http_504", "A gateway in front of MoEngage timed out. The request may have been accepted.", doUnsure, actUnsure},
	{codeServerError, "MoEngage, or a gateway in front of it, failed with another 5xx status. The request may have been accepted.", doUnsure, actUnsure},
	{codeLost, "The connection broke after the request may have been sent, before an answer was read.", doUnsure, actUnsure},
	{codeTimeout, "No answer came within moengage.timeout. The request may have been accepted.", doUnsure, actUnsure},
	{codeUnreadable, "A 2xx status came with a body that is not MoEngage's JSON, as a proxy or a captive portal would answer.", doUnsure, actUnsure},
	{codeSaysFail, "A 2xx status came with a body that does not say success.", doUnsure, actUnsure},

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

	{codeReadBack, "MoEngage refuses to read users back. Since August 2026 Get User is off until MoEngage's support enables it for the workspace; a rule of the API Firewall or the scope of the key can refuse it too.", "Records the verification as failed; it proves nothing. Sending continues.", actStop},

	{"http_413", "The request was too large for MoEngage.", "Halves the request. Parks a single element that is still too large as too_large. MoEngage would not refuse an element below 64 KB for its size, so such an element is parked only if another is accepted beside it. If everything is refused, as by a proxy, stops sending, parks nothing, and probes once a minute.", actSplit},
	{codeData, "MoEngage refused the data (400 with MissingAttributeError, AttributeError, ArrayFieldError or TypeError), without naming the bad element.", "Finds the bad element by bisection, parks it with MoEngage's message, and delivers the others without counting an attempt. However many are refused, the others are still sent.", actBisect},
	{codeAccount, "MoEngage refused the account or the configuration (400 with Blacklisted, InvalidParams or ParamsRequired).", "Parks a change only if another was accepted beside or after it. If everything is refused, stops sending, parks nothing, and probes at least once a minute, with users who were never refused first.", actSuspect},
	{codeUnexplained, "MoEngage answered 400 in an undocumented way, or without JSON.", "Bisects as for data_refused, but parks a change only if another was accepted beside or after it. If everything is refused, stops sending, parks nothing, and probes at least once a minute, with users who were never refused first.", actSuspect},

	{codeTooLarge, "The element alone is larger than moengage.max_request_bytes, or than MoEngage allows.", doPark, actPark},
	{codeUnencodable, "The value or the properties are not valid JSON, so no request can contain them.", doPark, actPark},
	{codeAttempts, "The change was tried retry.max_attempts times in requests of its own.", doPark, actPark},
	{"id_blocked", "The customer id is a placeholder: MoEngage refuses it for everybody (such as null, 0, unknown, user_id), or programs write it in place of a missing id (undefined, NaN).", doPark, actPark},
	{"id_too_short", "MoEngage requires customer ids of more than one character.", doPark, actPark},
	{"id_too_long", "The customer id is longer than 512 bytes.", doPark, actPark},
	{"id_invalid_utf8", "The customer id is not valid UTF-8.", doPark, actPark},

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

	{codeStay, "The request was not sent, because the agent was stopping or sending had stopped meanwhile.", "Leaves the changes pending; uses up no attempt.", actStay},
}

// rows finds a row by its code.
var rows = func() map[string]*Meaning {
	m := make(map[string]*Meaning, len(table))
	for i := range table {
		m[table[i].Code] = &table[i]
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
	if row, ok := rows[code]; ok {
		return *row, true
	}
	if of := cmp.Or(errorTypes[letters(code)], documentedTypes[letters(code)]); of != "" {
		return *rows[of], true
	}
	status, err := strconv.Atoi(strings.TrimPrefix(code, "http_"))
	if err != nil || status < 100 || status > 599 {
		return Meaning{}, false
	}
	return *byStatus(status), true
}

// Codes returns the codes of the failure table in its order.
func Codes() []string {
	codes := make([]string, len(table))
	for i := range table {
		codes[i] = table[i].Code
	}
	return codes
}

// byStatus returns the row of an HTTP status. The body may change the result.
func byStatus(status int) *Meaning {
	if row, ok := rows["http_"+strconv.Itoa(status)]; ok {
		return row
	}
	switch {
	case status == http.StatusBadRequest:
		return rows[codeUnexplained]
	case status/100 == 2:
		return rows[codeAccepted]
	case status/100 == 3:
		return rows[codeRedirected]
	case status/100 == 5:
		return rows[codeServerError]
	}
	return rows[codeUnexpected]
}

// answer is the result of one request.
type answer struct {
	*Meaning
	status    int
	requestID string
	body      string        // the part that was read
	words     string        // message of MoEngage or of the error; may contain user ids
	pause     time.Duration // requested by MoEngage, or zero
	at        time.Time

	said    string    // meaning and message without user ids, for the log and the status; "" if accepted
	resume  time.Time // set by the breaker: no request before this time
	untried bool      // cohorts only: a member of the request was in no request before
	again   bool      // the request's only user was refused before, and something else was accepted since
	alone   int       // how often the request's only user has failed alone; 0 for several users
}

const (
	readBody  = 64 << 10 // bytes of an answer that are read
	keepBody  = 2 << 10  // bytes stored with a parked change
	keepBrief = 256      // bytes stored with each pending change, of which there may be a thousand
	keepWords = 300
)

// read builds an answer from a response. body is the part of the response that was read.
func read(status int, header http.Header, body []byte, at time.Time) answer {
	a := answer{Meaning: byStatus(status), status: status, at: at, body: string(body)}
	said, ok := parseEnvelope(body)
	a.requestID, a.words = said.requestID, said.text()
	switch {
	case a.Code == codeAccepted && !ok:
		a.Meaning = rows[codeUnreadable]
	case a.Code == codeAccepted && !strings.EqualFold(said.status, "success"):
		a.Meaning = rows[codeSaysFail]
	case status == http.StatusBadRequest:
		if of, known := errorTypes[letters(said.kind)]; known {
			a.Meaning = rows[of]
		}
	case status == http.StatusForbidden && documentedTypes[letters(said.name)] == codeAddress:
		a.Meaning = rows[codeAddress]
	}
	switch a.act {
	case actRetry, actUnsure, actStop:
		a.pause = wish(status, header, at)
	}
	return a
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

// clip cuts s to at most n bytes at a character boundary and replaces invalid UTF-8 with question marks.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}

const (
	longestWish = time.Hour // largest accepted Retry-After
	epochFloor  = 1_000_000 // a smaller x-ratelimit-reset is seconds left, otherwise seconds since 1970
)

// wish returns the pause that MoEngage asks for. Retry-After is in seconds or a date. x-ratelimit-reset comes
// with every answer, so it is used only for a 429. It is documented both as seconds left (always below 60) and
// as seconds since 1970, so its size decides.
func wish(status int, h http.Header, now time.Time) time.Duration {
	if d, ok := retryAfter(h.Get("Retry-After"), now); ok {
		return min(max(d, 0), longestWish)
	}
	if status != http.StatusTooManyRequests {
		return 0
	}
	n, ok := wholeSeconds(h.Get("X-Ratelimit-Reset"))
	if !ok {
		return 0
	}
	left := time.Duration(n) * time.Second
	if n >= epochFloor {
		left = time.Unix(n, 0).Sub(now)
	}
	return min(max(left, time.Second), time.Minute)
}

func retryAfter(v string, now time.Time) (time.Duration, bool) {
	if n, ok := wholeSeconds(v); ok {
		return min(time.Duration(min(n, int64(longestWish/time.Second)))*time.Second, longestWish), true
	}
	if at, err := http.ParseTime(strings.TrimSpace(v)); err == nil {
		return at.Sub(now), true // Sub saturates
	}
	return 0, false
}

// mostSeconds is year 9999 in seconds since 1970. Larger values overflow time arithmetic.
const mostSeconds = 253402300799

// wholeSeconds parses a number of seconds of any size and drops a fraction.
func wholeSeconds(v string) (int64, bool) {
	v, fraction, _ := strings.Cut(strings.TrimSpace(v), ".")
	digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	if v == "" || !digits(v) || !digits(fraction) {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n > mostSeconds { // digits alone can only be out of range
		n = mostSeconds
	}
	return n, true
}

// failure builds an answer from an error. left means that bytes of the request may have left this host. It must
// be true if that is unknown.
func failure(err error, left bool, at time.Time) answer {
	return answer{Meaning: byError(err, left), words: err.Error(), at: at}
}

func byError(err error, left bool) *Meaning {
	var name *net.DNSError
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		left = false
	}
	switch {
	case errors.As(err, &name):
		return rows[codeDNS]
	case !left && isTLS(err):
		return rows[codeTLS]
	case !left:
		return rows[codeUnreachable]
	case isTimeout(err):
		return rows[codeTimeout]
	}
	return rows[codeLost]
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// isTLS reports whether a connection failed because of certificates or TLS settings, which seldom resolves by
// waiting. A handshake that timed out is not such a failure.
func isTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  *net.OpError // crypto/tls wraps its alerts in one with its own Op
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}

// mayHaveLeft reports whether MoEngage may have counted the request against its limits.
func (a answer) mayHaveLeft() bool {
	switch a.Code {
	case codeUnreachable, codeDNS, codeTLS:
		return false
	}
	return true
}

// incriminates reports whether the failure may be caused by a payload, although the answer does not say so.
func (a answer) incriminates() bool {
	return a.act == actUnsure || a.Code == "http_503" || a.Code == "http_408"
}

// judges reports whether the answer concerns the data. Its message may then contain user ids.
func (a answer) judges() bool { return a.act == actBisect || a.act == actSuspect }

// refuses reports whether the answer refuses the content of the request, as opposed to any request.
func (a answer) refuses() bool { return a.judges() || a.act == actSplit }

// parkedAs returns the reason code of a change parked because of the answer.
func (a answer) parkedAs() string {
	if a.act == actSplit {
		return codeTooLarge
	}
	return a.Code
}

// sentence returns the text shown with the reason of a change.
func (a answer) sentence() string { return a.saying(a.words) }

// public is sentence for the log and the status, without the ids of the request's users.
func (a answer) public(users []string) string { return a.saying(a.anonymous(users)) }

func (a answer) saying(words string) string {
	if words == "" && a.status != 0 && strings.TrimSpace(a.body) == "" {
		words = "nothing; the answer was empty"
	}
	if words == "" {
		return a.Means
	}
	return a.Means + domain.Said + clip(words, keepWords)
}

// kept returns the answer in the form stored with one change.
func (a answer) kept(bytes int) domain.Answer {
	return domain.Answer{Status: a.status, RequestID: a.requestID, Body: clip(a.body, bytes), At: a.at}
}
