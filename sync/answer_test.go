package syncer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

func noSuchHost() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "moengage.test", IsNotFound: true}}
}

// distrust returns the error of a connection with an untrusted certificate.
func distrust() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}
}

func TestAnswers(t *testing.T) {
	envelope := func(kind string) string {
		return fmt.Sprintf(`{"status":"fail","error":{"type":%q,"message":"words","attribute":"customer_id","request_id":"R"}}`, kind)
	}
	tests := []struct {
		name   string
		status int
		body   string
		code   string
		act    action
	}{
		{"success", 200, `{"status":"success","request_id":"R"}`, codeAccepted, actAccept},
		{"success without a request id", 202, `{"status":"Success"}`, codeAccepted, actAccept},
		{"an empty 200", 200, ``, codeUnreadable, actUncertain},
		{"204", 204, ``, codeUnreadable, actUncertain},
		{"a portal's page", 200, `<html>log in</html>`, codeUnreadable, actUncertain},
		{"a truncated 200", 200, `{"status":"succ`, codeUnreadable, actUncertain},
		{"a list", 200, `[]`, codeUnreadable, actUncertain},
		{"a 200 that says fail", 200, envelope("Server Error"), codeSaysFail, actUncertain},
		{"a 200 that says nothing", 200, `{}`, codeSaysFail, actUncertain},
		{"a 200 whose status is a number", 200, `{"status":1}`, codeSaysFail, actUncertain},

		{"missing attribute", 400, envelope("MissingAttributeError"), codeData, actBisect},
		{"bad attribute", 400, envelope("AttributeError"), codeData, actBisect},
		{"bad array", 400, envelope("ArrayFieldError"), codeData, actBisect},
		{"bad type, spelt otherwise", 400, envelope("Type Error"), codeData, actBisect},
		{"blacklisted", 400, envelope("Blacklisted"), codeAccount, actConfirm},
		{"invalid params", 400, envelope("InvalidParams"), codeAccount, actConfirm},
		{"params required", 400, envelope("Params_Required"), codeAccount, actConfirm},
		{"malformed", 400, envelope("Malformed JSON"), codeUnexplained, actConfirm},
		{"a type nobody documents", 400, envelope("Surprise"), codeUnexplained, actConfirm},
		{"an error that is a string", 400, `{"status":"fail","error":"TypeError"}`, codeUnexplained, actConfirm},
		{"a 400 of a proxy", 400, `<html>`, codeUnexplained, actConfirm},

		{"401", 401, envelope("Authentication required"), "http_401", actStop},
		{"403", 403, envelope("Account Suspended"), "http_403", actStop},
		{"404", 404, ``, "http_404", actStop},
		{"405", 405, ``, "http_405", actStop},
		{"408", 408, ``, "http_408", actRetry},
		{"409", 409, envelope("Authentication Mismatch"), "http_409", actStop},
		{"413", 413, envelope("Payload too large"), "http_413", actSplit},
		{"415", 415, ``, "http_415", actStop},
		{"418", 418, ``, codeUnexpected, actStop},
		{"422", 422, envelope("TypeError"), codeUnexpected, actStop},
		{"425", 425, ``, "http_425", actRetry},
		{"429", 429, envelope("Rate Limits Exceeded"), "http_429", actRetry},
		{"301", 301, ``, codeRedirected, actStop},
		{"307", 307, ``, codeRedirected, actStop},
		{"500", 500, envelope("Server Error"), "http_500", actUncertain},
		{"502", 502, `<html>`, "http_502", actUncertain},
		{"503", 503, ``, "http_503", actRetry},
		{"504", 504, ``, "http_504", actUncertain},
		{"522 of a proxy", 522, ``, codeServerError, actUncertain},
		{"599", 599, ``, codeServerError, actUncertain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := readAnswer(tt.status, http.Header{}, []byte(tt.body), time.Now())
			if a.Code != tt.code || a.act != tt.act {
				t.Errorf("read as %s (action %d), want %s (%d)", a.Code, a.act, tt.code, tt.act)
			}
			if a.status != tt.status || a.body != tt.body {
				t.Errorf("kept %d %q", a.status, a.body)
			}
		})
	}
}

func TestAnswersKeepMoEngagesWords(t *testing.T) {
	a := readAnswer(400, http.Header{}, []byte(`{"status":"fail","error":{"attribute":"customer_id","message":"customer_id is not found in the payload","type":"MissingAttributeError","request_id":"ZbPXtKFL"}}`), time.Now())
	if want := "MissingAttributeError: customer_id is not found in the payload: attribute customer_id"; a.message != want {
		t.Errorf("words %q, want %q", a.message, want)
	}
	if a.requestID != "ZbPXtKFL" {
		t.Errorf("request id %q", a.requestID)
	}
}

// The operator sees the message of an answer in any form.
func TestTheWordsOfAnAnswerAreFoundInAnyForm(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		code   string
		words  string
	}{
		{"IP whitelisting, as documented", 403, `{"error": "IP Validation Required", "message": "IP Validation Failed. Please check your IP!!"}`,
			codeAddress, "IP Validation Required: IP Validation Failed. Please check your IP!!"},
		{"a 429 of deletions", 429, `{"title":"Too Many Requests","description":"Rate limit reached"}`, "http_429", "Too Many Requests: Rate limit reached"},
		{"a 500 of deletions", 500, `{"title":"Internal Server Error","description":"Something went wrong"}`, "http_500", "Internal Server Error: Something went wrong"},
		{"title inside the error", 500, `{"error":{"title":"Oops","description":"later"}}`, "http_500", "Oops: later"},
		{"an error that is a list", 403, `{"status":"fail","error":["no such key","ask"]}`, "http_403", "no such key"},
		{"a list of errors", 403, `[{"message":"denied","code":7}]`, "http_403", "denied"},
		{"errors", 403, `{"errors":[{"detail":"denied"}]}`, "http_403", "denied"},
		{"a string", 403, `"denied"`, "http_403", "denied"},
		{"a number as the error", 403, `{"error":7,"message":"denied"}`, "http_403", "denied"},
		{"said twice", 403, `{"error":"denied","message":"denied"}`, "http_403", "denied"},
		{"a proxy's page", 403, "<html>\n<head><title>403 Forbidden</title></head><body><h1>Forbidden</h1></body></html>", "http_403", "a page, 403 Forbidden"},
		{"a page without a title", 503, "<!doctype html><p>Down for <b>maintenance</b> &amp; repair</p>", "http_503", "a page, Down for maintenance & repair"},
		{"a portal's page", 200, "<html><h1 class=x>Log in</h1>", codeUnreadable, "a page, Log in"},
		{"plain text", 502, "upstream connect error\r\nreset", "http_502", "upstream connect error reset"},
		{"a byte order mark", 403, "\uFEFF" + `{"message":"denied"}`, "http_403", "denied"},
		{"deeper than anybody reads", 403, strings.Repeat(`{"error":`, 50) + `"x"` + strings.Repeat("}", 50), "http_403", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := readAnswer(tt.status, http.Header{}, []byte(tt.body), time.Now())
			if a.Code != tt.code || a.message != tt.words {
				t.Errorf("read as %s with the words %q, want %s with %q", a.Code, a.message, tt.code, tt.words)
			}
			if tt.words != "" && !strings.Contains(a.sentence(), tt.words) {
				t.Errorf("the sentence is %q", a.sentence())
			}
		})
	}
	if s := readAnswer(403, http.Header{}, nil, time.Now()).sentence(); !strings.Contains(s, "the answer was empty") {
		t.Errorf("an empty answer reads %q", s)
	}
}

// Explain accepts MoEngage's own names as they are written there.
func TestExplainKnowsMoEngagesOwnNames(t *testing.T) {
	for name, want := range map[string]string{
		"IP Validation Required": codeAddress, "ip_validation_required": codeAddress, "Account Temporarily Suspended": "http_403",
		"Rate Limits Exceeded": "http_429", "Authentication required": "http_401", "PayloadTooLarge": "http_413", "get_user_refused": codeReadBack,
		"App Secret key is not set": "http_409", "Server Error": "http_500",
	} {
		if m, ok := Explain(name); !ok || m.Code != want {
			t.Errorf("%q explains as %q, want %s", name, m.Code, want)
		}
	}
	if do := meanings[codeAddress].Explanation().Do; !strings.Contains(do, "moengage.forwarded_for") {
		t.Errorf("nobody says what to set: %s", do)
	}
}

func TestFailures(t *testing.T) {
	tests := []struct {
		name string
		err  error
		left bool
		code string
	}{
		{"refused", cut(), true, codeUnreachable},
		{"no route", &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, true, codeUnreachable},
		{"dial timeout", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, true, codeUnreachable},
		{"deadline before a connection", context.DeadlineExceeded, false, codeUnreachable},
		{"handshake timeout", errors.New("net/http: TLS handshake timeout"), false, codeUnreachable},
		{"reset", reset(), true, codeLost},
		{"broken pipe", &net.OpError{Op: "write", Err: syscall.EPIPE}, true, codeLost},
		{"closed", io.ErrUnexpectedEOF, true, codeLost},
		{"stopped", context.Canceled, true, codeLost},
		{"no answer", context.DeadlineExceeded, true, codeTimeout},
		{"read timeout", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, true, codeTimeout},
		{"dns", noSuchHost(), true, codeDNS},
		{"certificate", distrust(), true, codeTLS},
		{"alert", &net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, false, codeTLS},
		{"not TLS at all", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false, codeTLS},
		{"plain HTTP", http.ErrSchemeMismatch, false, codeTLS},
		{"alert after the request", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, true, codeLost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := failure(tt.err, tt.left, time.Now()); a.Code != tt.code {
				t.Errorf("read as %s, want %s", a.Code, tt.code)
			}
		})
	}
}

func TestWishes(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		status int
		name   string
		value  string
		want   time.Duration
	}{
		{503, "Retry-After", "12", 12 * time.Second},
		{503, "Retry-After", " 12 ", 12 * time.Second},
		{503, "Retry-After", "0", 0},
		{503, "Retry-After", "-5", 0},
		{503, "Retry-After", "soon", 0},
		{503, "Retry-After", "99999999999", time.Hour},
		{503, "Retry-After", "9223372036854775807", time.Hour},
		{503, "Retry-After", "99999999999999999999999", time.Hour}, // beyond int64
		{503, "Retry-After", "12.5", 12 * time.Second},
		{503, "Retry-After", "1e9", 0},
		{503, "Retry-After", "0x10", 0},
		{503, "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT", time.Hour},
		{503, "Retry-After", "Monday, 23-Nov-26 12:00:30 GMT", 30 * time.Second},
		{403, "Retry-After", "120", 2 * time.Minute},
		{429, "x-ratelimit-reset", "9223372036854775807", time.Minute},
		{429, "x-ratelimit-reset", "99999999999999999999999", time.Minute},
		{503, "Retry-After", "Mon, 23 Nov 2026 12:00:30 GMT", 30 * time.Second},
		{503, "Retry-After", "Mon, 23 Nov 2026 11:00:00 GMT", 0},
		{429, "x-ratelimit-reset", "41", 41 * time.Second},
		{429, "x-ratelimit-reset", "0", time.Second},
		{429, "x-ratelimit-reset", "900", time.Minute},
		{429, "x-ratelimit-reset", fmt.Sprint(now.Unix() + 41), 41 * time.Second},
		{429, "x-ratelimit-reset", fmt.Sprint(now.Unix() - 41), time.Second},
		{429, "x-ratelimit-reset", fmt.Sprint(now.Unix() + 4100), time.Minute},
		{429, "x-ratelimit-reset", "never", 0},
		{503, "x-ratelimit-reset", "41", 0},
	}
	for _, tt := range tests {
		h := http.Header{}
		h.Set(tt.name, tt.value)
		if got := readAnswer(tt.status, h, nil, now).pause; got != tt.want {
			t.Errorf("%d with %s: %s pauses %v, want %v", tt.status, tt.name, tt.value, got, tt.want)
		}
	}
}

func TestTheTableIsWholeAndReadable(t *testing.T) {
	seen := map[string]bool{}
	for _, code := range Codes() {
		m, ok := Explain(code)
		if !ok || m.Code != code || seen[code] {
			t.Errorf("%s explains as %+v, %v", code, m, ok)
		}
		seen[code] = true
		for _, s := range []string{m.Means, m.Agent} {
			if !strings.HasSuffix(s, ".") || strings.ToUpper(s[:1]) != s[:1] {
				t.Errorf("%s: not a sentence: %q", code, s)
			}
		}
	}
	for status := 100; status < 600; status++ {
		if m, ok := Explain(fmt.Sprint(status)); !ok || m.Means == "" {
			t.Errorf("status %d is not explained", status)
		}
	}
	for spelt, want := range map[string]string{
		"503": "http_503", "HTTP_503": "http_503", "400": codeUnexplained, "200": codeAccepted, "302": codeRedirected, "507": codeServerError,
		"MissingAttributeError": codeData, "Blacklisted": codeAccount, " dns ": codeDNS, "interrupted": "interrupted",
	} {
		if m, ok := Explain(spelt); !ok || m.Code != want {
			t.Errorf("%q explains as %s, want %s", spelt, m.Code, want)
		}
	}
	for _, unknown := range []string{"", "nonsense", "99", "600", "http_", "-1"} {
		if m, ok := Explain(unknown); ok {
			t.Errorf("%q explains as %s", unknown, m.Code)
		}
	}
}

func TestClipKeepsCharactersWhole(t *testing.T) {
	for _, s := range []string{"", "plain", "päivää päivää", "日本語日本語", "bad\xffbytes\xff\xfe", strings.Repeat("é", 100)} {
		for n := range len(s) + 2 {
			got := clip(s, n)
			if len(got) > n || strings.ContainsRune(got, '\uFFFD') || !strings.HasPrefix(strings.ToValidUTF8(s, "?"), got) {
				t.Errorf("clip(%q, %d) = %q", s, n, got)
			}
			if whole := strings.ToValidUTF8(s, "?"); n >= len(s) && got != whole || utf8.ValidString(s) && len(got) <= min(n, len(s))-utf8.UTFMax {
				t.Errorf("clip(%q, %d) = %q cuts more than it must", s, n, got)
			}
		}
	}
}

// TestAnEmptyAnswerSaysSo, and no answer at all is none.
func TestAnEmptyAnswerSaysSo(t *testing.T) {
	empty := readAnswer(503, http.Header{}, []byte(" \n"), time.Now())
	if got := empty.sentence(); !strings.HasSuffix(got, "nothing; the answer was empty") {
		t.Errorf("an empty one: %s", got)
	}
	empty.status = 0
	if got := empty.sentence(); got != empty.Means {
		t.Errorf("none: %s", got)
	}
}
