package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/internal/valid"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// check makes the checks beyond a single value's type: the form of values, and values that depend on each
// other.
func check(r *report) {
	if r.cfg.DataDir == "" {
		r.refuseKey(keyDataDir, "must name a folder")
	}
	checkStore(r)
	checkIngest(r)
	checkAdmin(r)
	checkMoEngage(r)
	if retry := r.cfg.Retry; retry.MaxBackoff.Duration < retry.MinBackoff.Duration {
		r.refuseKey("retry.max_backoff", "must not be shorter than retry.min_backoff, which is %s", retry.MinBackoff)
	}
	if n := r.cfg.Retention.MaxDataBytes; n > 0 && n < leastDataBytes {
		r.refuseKey("retention.max_data_bytes", "must be 0, for no limit, or %d (64 MiB) or more: the files grow in steps of 16 MiB", leastDataBytes)
	}
	if d := r.cfg.Retention.ExMembers.Duration; d > 0 && d < leastExMembers {
		r.refuseKey("retention.ex_members", `must be "0s", for ever, or 24h or more: late deliveries are recognised by it`)
	}
	if d := r.cfg.History.Keep.Duration; d > 0 && d < leastHistory {
		r.refuseKey("history.keep", `must be "0s", for no history, or 24h or more`)
	}
	checkSchedule(r)
	checkBackup(r)
	checkNotify(r)
	checkPolicy(r, field.Of(&r.cfg.Defaults, "defaults."))
	for i := range r.cfg.Computations {
		checkComputation(r, &r.cfg.Computations[i], r.prefixes[i])
	}
	checkNames(r)
}

// leastDataBytes is enough for two store files, a growth step of each, and half of that again for their
// content.
const leastDataBytes = 64 << 20

// leastHistory is the shortest history that can answer a question about yesterday.
const leastHistory = 24 * time.Hour

// leastExMembers exceeds the time for which Segment retries a delivery, and any sensible window of the guard.
const leastExMembers = 24 * time.Hour

// checkIngest refuses an address that other machines can reach without TLS or without credentials.
func checkIngest(r *report) {
	in := &r.cfg.Ingest
	checkTLS(r)
	if in.Auth == "off" && r.cfg.MoEngage.DeleteUsers {
		r.refuseKey("moengage.delete_users", "needs ingest.auth = \"required\": without credentials, every program on this host could delete users at MoEngage")
	}
	local, err := valid.ListenAddress(in.Listen)
	switch {
	case err != nil:
		r.refuseKey(keyIngestListen, "%v", err)
		return
	case local:
		return
	case in.TLSCert == "" && !in.BehindProxy:
		r.refuseKey(keyIngestListen, "is reachable from other machines: set ingest.tls_cert and ingest.tls_key, "+
			"or ingest.behind_proxy = true if a proxy provides TLS for it")
	}
	if in.Auth == "off" {
		r.refuseKey("ingest.auth", "is allowed on a loopback address only, and ingest.listen is %q: anyone could post events", in.Listen)
	}
}

// checkTLS reads the certificate and its key, so that a fault in them is reported before the start.
func checkTLS(r *report) {
	in := &r.cfg.Ingest
	switch {
	case in.TLSCert == "" && in.TLSKey == "":
		return
	case in.TLSKey == "":
		r.refuseKey(keyTLSCert, "also needs ingest.tls_key")
		return
	case in.TLSCert == "":
		r.refuseKey(keyTLSKey, "also needs ingest.tls_cert")
		return
	case r.cfg.blind:
		return
	}
	found := r.count()
	if _, err := os.Stat(in.TLSCert); err != nil {
		defer r.deny(found, err)
		r.refuseKey(keyTLSCert, "cannot be read: %v", reason(err))
		return
	}
	if err := checkPrivate(in.TLSKey); err != nil {
		defer r.deny(found, err)
		r.refuseKey(keyTLSKey, "%v", err)
		return
	}
	if _, err := tls.LoadX509KeyPair(in.TLSCert, in.TLSKey); err != nil {
		defer r.deny(found, err)
		r.refuseKey(keyTLSCert, "cannot be used with ingest.tls_key: %v", reason(err))
	}
}

// checkAdmin checks the socket and the address of the status page. A clash with ingest.listen is found here, because
// at the start it would look like another process.
func checkAdmin(r *report) {
	a := &r.cfg.Admin
	if a.Socket != "" {
		if err := valid.SocketPath(a.Socket); err != nil {
			r.refuseKey(keyAdminSocket, "%v", err)
		}
	}
	if path, ok := strings.CutPrefix(r.cfg.Ingest.Listen, valid.UnixPrefix); ok && valid.SamePath(path, r.cfg.Socket(os.Getenv)) {
		r.refuseKey(keyIngestListen, "is the socket of the commands (admin.socket): choose another path")
	}
	if a.Listen == "" {
		return
	}
	if _, err := valid.HostPort(a.Listen); err != nil {
		r.refuseKey(keyAdminListen, `%v; "" turns the status page off`, err)
		return
	}
	if valid.SameAddress(a.Listen, r.cfg.Ingest.Listen) {
		r.refuseKey(keyAdminListen, "is the address of ingest.listen: choose another port")
	}
}

// checkMoEngage checks the settings that become parts of a request, before a wrong one fails at MoEngage.
func checkMoEngage(r *report) {
	m := &r.cfg.MoEngage
	// The id is part of a URL path and the user name of Basic authentication.
	if strings.ContainsFunc(m.WorkspaceID, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/?#%:", r) }) {
		r.refuseKey("moengage.workspace_id", "has a character that no workspace id has: copy it from MoEngage: Settings, Account, APIs")
	}
	if at, err := netip.ParseAddr(m.ForwardedFor); m.ForwardedFor != "" && (err != nil || at.Zone() != "" || at.IsUnspecified()) {
		r.refuseKey("moengage.forwarded_for", `must be the one address that MoEngage sees this host under, like "203.0.113.7", or "" to send none`)
	}
	if m.BaseURL == "" {
		return
	}
	if strings.Contains(m.BaseURL, "@") {
		// The value is left out because it may contain a password.
		r.add(faultAt(r.cfg.origins[keyBaseURL], keyBaseURL, "",
			"must not hold a user or password: they go to moengage.workspace_id and moengage.api_key"))
		return
	}
	u, err := url.Parse(m.BaseURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		r.refuseKey(keyBaseURL, `must be a URL like "https://api-01.moengage.com" or "http://127.0.0.1:8490"`)
	case u.RawQuery != "" || u.Fragment != "":
		r.refuseKey(keyBaseURL, "must end before any ? or #")
	case strings.HasSuffix(u.Hostname(), ".moengage.com") && !strings.HasPrefix(u.Hostname(), "api"):
		r.refuseKey(keyBaseURL, "is not the address of MoEngage's API: write \"https://api-%s.moengage.com\"", dataCenterIn(u.Hostname()))
	}
}

// dataCenterIn returns the data center in a host name of MoEngage, such as dashboard-02.moengage.com. It is 01 without one.
func dataCenterIn(host string) string {
	label, _, _ := strings.Cut(host, ".")
	if _, number, ok := strings.Cut(label, "-"); ok {
		return number
	}
	return Default().MoEngage.DataCenter
}

// checkSchedule checks the time zone first. With a wrong one the cron specs are read in UTC.
func checkSchedule(r *report) {
	s := &r.cfg.Schedule
	if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "" {
		r.refuseKey("schedule.timezone", `is not a known time zone: write a name like "Europe/Berlin", or "UTC"`)
	}
	if err := valid.CronSpec(s.Cron, r.cfg.Location()); err != nil {
		r.refuseKey("schedule.cron", "%v", err)
	}
	if v := r.cfg.Verify.Schedule; v != "" {
		if err := valid.CronSpec(v, r.cfg.Location()); err != nil {
			r.refuseKey("verify.schedule", "%v", err)
		}
	}
}

// checkBackup refuses backups without a place, and a place that is lost together with the data.
func checkBackup(r *report) {
	b := &r.cfg.Backup
	if b.Schedule != "" {
		if err := valid.CronSpec(b.Schedule, r.cfg.Location()); err != nil {
			r.refuseKey("backup.schedule", "%v", err)
		}
		if b.Dir == "" {
			r.refuseKey(keyBackupDir, `must name a folder for the backups, such as "/var/backups/personasync", because backup.schedule is set`)
		}
	}
	if inside, err := filepath.Rel(r.cfg.DataDir, b.Dir); b.Dir != "" && err == nil && filepath.IsLocal(inside) {
		r.refuseKey(keyBackupDir, "must be outside of data_dir: the loss of that folder would take the backups too")
	}
}

// checkNotify refuses what no message could be sent by. Its addresses and headers are never shown.
func checkNotify(r *report) {
	n := &r.cfg.Notify
	for key, secret := range map[string]Secret{keyNotifyURL: n.URL, keyHeartbeatURL: n.HeartbeatURL} {
		if err := valid.Webhook(secret.Current()); len(secret) > 0 && err != nil {
			r.refuseKey(key, "%v", err)
		}
	}
	for _, line := range n.Headers {
		if err := valid.HeaderLine(line); err != nil {
			r.refuseKey(keyHeaders, "%v", err)
		}
	}
	checkFormat(r)
	if len(n.Command) > 0 && !r.cfg.blind {
		if err := valid.Program(n.Command[0]); err != nil {
			r.refuseKey("notify.command", "%v", err)
		}
	}
}

// checkFormat refuses a body that the host of the address is known not to take.
func checkFormat(r *report) {
	n := &r.cfg.Notify
	if n.Format == "pagerduty" && len(n.RoutingKey) == 0 && !r.cfg.blind {
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

// checkComputation checks a section. prefix begins the full names of its keys.
func checkComputation(r *report, c *Computation, prefix string) {
	checkPolicy(r, field.Of(&c.Policy, prefix))
	if c.Schedule != "" {
		if err := valid.CronSpec(c.Schedule, r.cfg.Location()); err != nil {
			r.refuse(field.Named(c, prefix, "schedule"), err.Error())
		}
	}
	checkAttribute(r, c, prefix)
	checkCohort(r, c, prefix)
}

// checkPolicy checks the names set in this section. Inherited names are checked in [defaults].
func checkPolicy(r *report, policy []field.Field) {
	for _, f := range policy {
		if !r.given(f.Key) {
			continue
		}
		var err error
		switch _, word := document.SplitKey(f.Key); word {
		case "enter_event", "exit_event", "trait_event":
			if err = valid.EventName(*f.Ptr.(*string)); err != nil {
				err = fmt.Errorf("%w: choose another name", err)
			}
		case "list_attribute":
			if err = valid.AttributeName(*f.Ptr.(*string)); err != nil {
				err = fmt.Errorf("%w: choose another name", err)
			}
		case "forward_traits":
			err = valid.ForwardTraits(*f.Ptr.(*[]string))
		case "consent":
			err = valid.Categories(*f.Ptr.(*[]string))
		}
		if err != nil {
			r.refuse(f, err.Error())
		}
	}
}

// checkAttribute checks the attribute name of a computation, which defaults to its key.
func checkAttribute(r *report, c *Computation, prefix string) {
	switch {
	case r.given(prefix + "attribute"):
		if err := valid.AttributeName(c.Attribute); err != nil {
			r.refuse(field.Named(c, prefix, "attribute"), err.Error()+": choose another name")
		}
	case c.Key != "" && sendsAttribute(c.Send):
		if err := valid.AttributeName(c.Key); err != nil {
			r.refuse(field.Named(c, prefix, "key"), fmt.Sprintf("names the attribute too, and %v: set attribute to another name", err))
		}
	}
}

// checkCohort checks the cohort name of a computation, which defaults to its key.
func checkCohort(r *report, c *Computation, prefix string) {
	switch {
	case r.given(prefix + "cohort_name"):
		if err := valid.CohortName(c.CohortName); err != nil {
			r.refuse(field.Named(c, prefix, "cohort_name"), err.Error())
		}
	case c.Key != "" && c.Send.Has(domain.SendCohort):
		if err := valid.CohortName(c.Key); err != nil {
			r.refuse(field.Named(c, prefix, "key"), fmt.Sprintf("names the cohort too, and %v as cohort_name", err))
		}
	}
}

// checkNames refuses two sections that would write the same attribute or change the same cohort. It compares
// names as they are sent, after shortening and replacement. Lists may share an attribute with each other only.
func checkNames(r *report) {
	checkApart(r, "attribute", "writes the attribute", sendsAttribute, func(c *Computation) string { return c.Attribute }, domain.AttributeName)
	checkApart(r, "cohort_name", "changes the cohort",
		func(set domain.SendMethods) bool { return set.Has(domain.SendCohort) }, func(c *Computation) string { return c.CohortName }, domain.CohortName)
	for i := range r.cfg.Computations {
		c := &r.cfg.Computations[i]
		name := domain.AttributeName(cmp.Or(c.Attribute, c.Key))
		for _, p := range policies(r) {
			if sendsAttribute(c.Send) && p.Send.Has(domain.SendList) && domain.AttributeName(p.ListAttribute) == name {
				r.refuse(field.Named(c, r.prefixes[i], "attribute"), fmt.Sprintf("writes the attribute %q, which holds a list of audiences (list_attribute): give it another attribute", wording.Shorten(name)))
				break
			}
		}
	}
}

// policies returns all policies.
func policies(r *report) []*Policy {
	all := []*Policy{&r.cfg.Defaults}
	for i := range r.cfg.Computations {
		all = append(all, &r.cfg.Computations[i].Policy)
	}
	return all
}

// checkApart refuses two sections with the same name as sent. The name is the value of the key word, or else
// the computation's key.
func checkApart(r *report, word, does string, sends func(domain.SendMethods) bool, value func(*Computation) string, sent func(string) string) {
	owners := map[string]*Computation{}
	for i := range r.cfg.Computations {
		c := &r.cfg.Computations[i]
		name, at := value(c), word
		if name == "" {
			name, at = c.Key, "key"
		}
		if name == "" || !sends(c.Send) {
			continue
		}
		name = sent(name)
		switch owner := owners[name]; {
		case owner == nil:
			owners[name] = c
		case owner.Name() != c.Name(): // otherwise the computation is listed twice, which is another fault
			r.refuse(field.Named(c, r.prefixes[i], at), fmt.Sprintf(
				"%s %q, and so does %s.%s: give one of them another %s",
				does, wording.Shorten(name), document.Computations, document.BareKey(owner.Name()), word))
		}
	}
}
