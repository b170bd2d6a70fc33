package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/valid"
	"personasync/agent/config/wording"
)

// Notify is who is told of conditions, and the heartbeat. Addresses are secrets, because their paths are.
type Notify struct {
	URL              Secret   `toml:"url" credential:"notify_url"`
	URLFile          string   `toml:"url_file" path:"file"`
	Headers          Secret   `toml:"headers" credential:"notify_headers" table:"header"` // each "Name: value"
	HeadersFile      string   `toml:"headers_file" path:"file"`
	Format           string   `toml:"format" one:"json|teams|pagerduty"`
	RoutingKey       Secret   `toml:"routing_key" credential:"notify_routing_key"`
	RoutingKeyFile   string   `toml:"routing_key_file" path:"file"`
	Command          []string `toml:"command"`
	After            Duration `toml:"after" min:"0s" max:"24h"`
	HeartbeatURL     Secret   `toml:"heartbeat_url" credential:"notify_heartbeat_url"`
	HeartbeatURLFile string   `toml:"heartbeat_url_file" path:"file"`
	HeartbeatEvery   Duration `toml:"heartbeat_every" min:"1s" max:"24h"`
	HeartbeatLag     Duration `toml:"heartbeat_lag" min:"1s"`
}

// Receivers names what is told: url, command, heartbeat. A secret that was not read, or that the running agent has, counts.
func (c *Config) Receivers() (names []string) {
	n := &c.Notify
	if c.mayHave(keyNotifyURL, n.URL) {
		names = append(names, "url")
	}
	if len(n.Command) > 0 {
		names = append(names, "command")
	}
	if c.mayHave(keyHeartbeatURL, n.HeartbeatURL) {
		names = append(names, "heartbeat")
	}
	return names
}

// mayHave reports whether a secret is set, here or where this process may not read.
func (c *Config) mayHave(key string, secret Secret) bool {
	kind := c.origins[key].kind
	return c.has(key, secret) || kind == fromSecretFile || kind == fromCredential
}

const (
	keyNotifyURL    = "notify.url"
	keyHeaders      = "notify.headers"
	keyRoutingKey   = "notify.routing_key"
	keyHeartbeatURL = "notify.heartbeat_url"
)

// takeHeader takes an entry of a table of headers, and reports whether it is one. A table becomes lines, so that a file and
// a credential can hold the same.
func (l *loader) takeHeader(e document.Entry) bool {
	if e.Section > 0 || len(e.Path) == 0 {
		return false
	}
	f, known := l.known[e.Key()]
	if e.Header && known && f.tag.Get("table") != "" && !e.Array {
		l.cfg.origins[f.key] = l.at(e)
		return true
	}
	last := len(e.Path) - 1
	f, known = l.known[document.JoinKey(e.Path[:last])]
	if e.Header || !known || f.tag.Get("table") == "" {
		return false
	}
	texts, err := e.Value.Texts()
	if e.Value.Kind == document.Text {
		texts, err = []string{e.Value.Text}, nil
	}
	switch {
	case err != nil || len(texts) != 1:
		l.add(faultAt(l.at(e), e.Key(), "(hidden)", "must be text in double quotes"))
	case strings.ContainsAny(texts[0], "\r\n"):
		l.add(faultAt(l.at(e), e.Key(), "(hidden)", "must not have a line break: it would begin another header"))
	default:
		secret := f.ptr.(*Secret)
		*secret = append(*secret, e.Path[last]+": "+texts[0])
		l.cfg.origins[f.key] = l.at(e)
	}
	return true
}

func checkNotify(r *report) {
	n := &r.cfg.Notify
	checkReceiver(r, keyNotifyURL, n.URL)
	checkReceiver(r, keyHeartbeatURL, n.HeartbeatURL)
	for _, line := range n.Headers {
		if err := checkHeaderLine(line); err != nil {
			r.refuseKey(keyHeaders, "%v", err)
		}
	}
	checkFormat(r)
	if len(n.Command) > 0 && !r.cfg.blind {
		if err := checkCommand(n.Command[0]); err != nil {
			r.refuseKey("notify.command", "%v", err)
		}
	}
}

// checkReceiver checks an address that requests are made to. It is never shown.
func checkReceiver(r *report, key string, secret Secret) {
	if len(secret) == 0 {
		return
	}
	u, err := url.Parse(secret.Current())
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		r.refuseKey(key, `must be a whole address that begins with https://, like "https://hooks.slack.com/services/…"`)
	case u.User != nil:
		r.refuseKey(key, "must not hold a user or password: write headers = {Authorization = \"Basic …\"}")
	case u.Fragment != "":
		r.refuseKey(key, "must end before any #")
	}
}

// headersOfHTTP are set by the request itself.
var headersOfHTTP = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te"}

// checkHeaderLine checks "Name: value". Its error does not repeat the value.
func checkHeaderLine(line string) error {
	name, value, found := strings.Cut(line, ":")
	switch {
	case !found || name == "":
		return errors.New(`has a line without a name: write {Authorization = "Bearer …"}, or in a file one "Name: value" a line`)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }):
		return fmt.Errorf("%q is not the name of a header", wording.Shorten(name))
	case slices.Contains(headersOfHTTP, textproto.CanonicalMIMEHeaderKey(name)):
		return fmt.Errorf("%s cannot be set: every request has its own", name)
	case strings.TrimSpace(value) == "":
		return fmt.Errorf("%s has no value", name)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return fmt.Errorf("the value of %s has a control character: copy it again", name)
	}
	return nil
}

// checkFormat refuses a body that the host of the address is known not to take.
func checkFormat(r *report) {
	n := &r.cfg.Notify
	if n.Format == "pagerduty" && !r.cfg.mayHave(keyRoutingKey, n.RoutingKey) && !r.cfg.blind {
		r.refuseKey(keyRoutingKey, `must be set for format = "pagerduty": it is the integration key of an integration "Events API v2"`)
	}
	u, err := url.Parse(n.URL.Current())
	if err != nil {
		return
	}
	switch host := u.Hostname(); {
	case strings.HasPrefix(host, "events.") && strings.HasSuffix(host, "pagerduty.com"):
		if n.Format != "pagerduty" {
			r.refuseKey("notify.format", `must be "pagerduty" for the address in notify.url`)
		}
		if u.Path != "/v2/enqueue" {
			r.refuseKey(keyNotifyURL, "must end in /v2/enqueue at PagerDuty")
		}
	case host == "hooks.slack.com" && n.Format != "json":
		r.refuseKey("notify.format", `must be "json" for the address in notify.url, which is of Slack`)
	}
}

// checkCommand looks for a program as running it will.
func checkCommand(name string) error {
	if name == "" {
		return errors.New(`must begin with a program, like ["/usr/local/bin/page-me"]`)
	}
	if strings.ContainsRune(name, '/') && !filepath.IsAbs(name) {
		return errors.New(`must begin with an absolute path, or with a name that is in $PATH`)
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder: name a program", name)
	}
	if _, err := exec.LookPath(name); err != nil {
		if strings.Contains(name, " ") {
			return fmt.Errorf(`%q is no program: write each argument by itself, like ["/bin/sh", "-c", "…"]`, wording.Shorten(name))
		}
		if failed := (*exec.Error)(nil); errors.As(err, &failed) {
			err = failed.Err
		}
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%s may not be run by this user: chmod +x it; the packaged unit of systemd needs it in ExecPaths= too (systemctl edit personasync)", name)
		}
		return fmt.Errorf("%s cannot be run (%v): install it, or correct the path", name, reason(err))
	}
	return nil
}

func (c *Config) warnNotify(say sayer) {
	n, d := &c.Notify, Default().Notify
	toURL, beats := c.mayHave(keyNotifyURL, n.URL), c.mayHave(keyHeartbeatURL, n.HeartbeatURL)
	if c.blind {
		toURL, beats = true, true
	}
	if !toURL && c.mayHave(keyHeaders, n.Headers) {
		say("notify.headers is not used, because notify.url is not set")
	}
	if !toURL && n.Format != d.Format {
		say("notify.format is not used, because notify.url is not set")
	}
	if n.Format != "pagerduty" && c.mayHave(keyRoutingKey, n.RoutingKey) {
		say("notify.routing_key is not used, because notify.format is %q", n.Format)
	}
	if !beats && (n.HeartbeatEvery != d.HeartbeatEvery || n.HeartbeatLag != d.HeartbeatLag) {
		say("notify.heartbeat_every and heartbeat_lag are not used, because notify.heartbeat_url is not set")
	}
	for key, secret := range map[string]Secret{keyNotifyURL: n.URL, keyHeartbeatURL: n.HeartbeatURL} {
		if u, err := url.Parse(secret.Current()); err == nil && u.Scheme == "http" && !valid.IsLoopback(u.Hostname()) {
			say("%s is plain http: its path and the headers, which are secrets, cross the network unencrypted", key)
		}
	}
	u, err := url.Parse(n.URL.Current())
	if err == nil && n.Format == "json" && (strings.HasSuffix(u.Hostname(), ".logic.azure.com") || strings.HasSuffix(u.Hostname(), ".powerplatform.com")) {
		say(`notify.url looks like a workflow of Teams, which shows cards alone: set notify.format = "teams"`)
	}
}
