package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sendPatience is how long a request may take.
const sendPatience = 10 * time.Second

// maxAnswer is how much of an answer is read.
const maxAnswer = 4 << 10

// client makes the requests. It follows no redirect: a POST that is sent on becomes a GET, and the message is lost.
var client = &http.Client{
	Timeout:       sendPatience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true},
}

// poster posts messages to a URL.
type poster struct{ config Config }

// deliver posts a message, and returns what the receiver answered.
func (p *poster) deliver(ctx context.Context, m *Message) (answer string, err error) {
	payload, err := body(p.config.Format, p.config.RoutingKey, m)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.config.URL, bytes.NewReader(payload))
	if err != nil {
		return "", &failure{why: "notify.url is not an address", do: "correct it"}
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	for _, line := range p.config.Headers {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	return ask(req, "notify.url", p.config.secrets())
}

// ask makes a request and judges its answer. key is the setting with its address.
func ask(req *http.Request, key string, secrets []string) (answer string, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return "", unreached(req.Context(), key, err, secrets)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	answer = strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + excerpt(text, secrets))
	if f := judge(resp, text, key, answer); f != nil {
		return answer, f
	}
	return answer, nil
}

// judge returns why an answer is no success; nil: it is one.
func judge(resp *http.Response, text []byte, key, answer string) *failure {
	f := &failure{why: "it answered " + answer}
	switch code := resp.StatusCode; {
	case code/100 == 2 && !refusedWithin(text):
		return nil
	case code/100 == 2:
		f.do = "it says 200 and took nothing: make a new webhook there, and set " + key
	case code/100 == 3:
		to, host := resp.Header.Get("Location"), "another address"
		if u, err := url.Parse(to); err == nil && u.Host != "" {
			host = u.Scheme + "://" + u.Host
		}
		f.why, f.do = fmt.Sprintf("it answered %d, a redirect to %s", code, host), "set "+key+" to the address that it leads to: a message is not sent on"
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		f.do = "the token is wrong or was revoked: correct " + key + ", notify.headers or notify.routing_key"
	case code == http.StatusNotFound, code == http.StatusGone:
		f.do = "the webhook does not exist or was removed: make a new one there, and set " + key
	case code == http.StatusRequestEntityTooLarge:
		f.do = "the receiver takes smaller bodies than 16 KB: raise its limit"
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		f.do, f.after = "it is retried", retryAfter(resp.Header)
	case code/100 == 4:
		f.do = `the receiver does not take this body: look at notify.format ("json" for Slack, "teams", "pagerduty")`
	default:
		f.do = "the receiver has a fault of its own; it is retried"
	}
	return f
}

// retryAfter reads the header of that name, in seconds.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// errorsOfSlack are answers that a webhook of Slack gives instead of "ok". A proxy before it may make a 200 of them.
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
var errorsOfSlack = []string{
	"invalid_token", "no_service", "no_service_id", "no_team", "no_text", "no_active_hooks", "invalid_payload", "action_prohibited",
	"channel_not_found", "channel_is_archived", "posting_to_general_channel_denied", "team_disabled", "user_not_found", "token_revoked",
}

// refusedWithin reports whether the body of a 2xx says that nothing was taken: a word of Slack, {"ok":false} of its Web
// API, or the sentence of a connector of Teams.
func refusedWithin(text []byte) bool {
	said := strings.TrimSpace(string(text))
	if slices.Contains(errorsOfSlack, said) || strings.HasPrefix(said, "Webhook message delivery failed") {
		return true
	}
	var web struct {
		OK *bool `json:"ok"`
	}
	return json.Unmarshal(text, &web) == nil && web.OK != nil && !*web.OK
}

// headerValues are the values of headers.
func headerValues(lines []string) (values []string) {
	for _, line := range lines {
		_, value, _ := strings.Cut(line, ":")
		values = append(values, strings.TrimSpace(value))
	}
	return values
}
