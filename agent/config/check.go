package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/valid"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// check makes the checks beyond a single value's type: the form of values, and values that depend on each
// other.
func (l *loader) check() {
	if l.cfg.DataDir == "" {
		l.refuseKey("data_dir", "must name a folder")
	}
	l.checkIngest()
	l.checkAdmin()
	l.checkMoEngage()
	if r := l.cfg.Retry; r.MaxBackoff.Duration < r.MinBackoff.Duration {
		l.refuseKey("retry.max_backoff", "must not be shorter than retry.min_backoff, which is %s", r.MinBackoff)
	}
	if n := l.cfg.Retention.MaxDataBytes; n > 0 && n < leastDataBytes {
		l.refuseKey("retention.max_data_bytes", "must be 0, for no limit, or %d (64 MiB) or more: the files grow in steps of 16 MiB", leastDataBytes)
	}
	if d := l.cfg.Retention.ExMembers.Duration; d > 0 && d < leastExMembers {
		l.refuseKey("retention.ex_members", `must be "0s", for ever, or 24h or more: late deliveries are recognised by it`)
	}
	l.checkSchedule()
	l.checkPolicy(fields(&l.cfg.Defaults, "defaults."))
	for i := range l.cfg.Computations {
		l.checkComputation(&l.cfg.Computations[i], l.prefixes[i])
	}
	l.checkNames()
}

// leastDataBytes is enough for two store files, a growth step of each, and half of that again for their
// content.
const leastDataBytes = 64 << 20

// leastExMembers exceeds the time for which Segment retries a delivery, and any sensible window of the guard.
const leastExMembers = 24 * time.Hour

func (l *loader) checkIngest() {
	in := &l.cfg.Ingest
	l.checkTLS()
	local, err := valid.ListenAddress(in.Listen)
	switch {
	case err != nil:
		l.refuseKey("ingest.listen", "%v", err)
		return
	case local:
		return
	case in.TLSCert == "" && !in.BehindProxy:
		l.refuseKey("ingest.listen", "is reachable from other machines: set ingest.tls_cert and ingest.tls_key, "+
			"or ingest.behind_proxy = true where a proxy speaks TLS for it")
	}
	if in.Auth == "off" {
		l.refuseKey("ingest.auth", "is allowed on a loopback address only, and ingest.listen is %q: anybody could post events", in.Listen)
	}
}

// checkTLS reads the certificate and its key, so that a fault in them is reported before the start.
func (l *loader) checkTLS() {
	in := &l.cfg.Ingest
	switch {
	case in.TLSCert == "" && in.TLSKey == "":
		return
	case in.TLSKey == "":
		l.refuseKey("ingest.tls_cert", "needs ingest.tls_key beside it")
		return
	case in.TLSCert == "":
		l.refuseKey("ingest.tls_key", "needs ingest.tls_cert beside it")
		return
	case l.cfg.blind:
		return
	}
	found := len(l.faults.All)
	if _, err := os.Stat(in.TLSCert); err != nil {
		defer l.deny(found, err)
		l.refuseKey("ingest.tls_cert", "cannot be read: %v", reason(err))
		return
	}
	if err := checkPrivate(in.TLSKey); err != nil {
		defer l.deny(found, err)
		l.refuseKey("ingest.tls_key", "%v", err)
		return
	}
	if _, err := tls.LoadX509KeyPair(in.TLSCert, in.TLSKey); err != nil {
		defer l.deny(found, err)
		l.refuseKey("ingest.tls_cert", "cannot be used with ingest.tls_key: %v", reason(err))
	}
}

func (l *loader) checkAdmin() {
	a := &l.cfg.Admin
	if a.Socket != "" {
		if err := valid.SocketPath(a.Socket); err != nil {
			l.refuseKey("admin.socket", "%v", err)
		}
	}
	if path, ok := strings.CutPrefix(l.cfg.Ingest.Listen, valid.UnixPrefix); ok && valid.SamePath(path, l.cfg.Socket(os.Getenv)) {
		l.refuseKey("ingest.listen", "is the socket of the commands (admin.socket): choose another path")
	}
	if a.Listen == "" {
		return
	}
	if _, err := valid.HostPort(a.Listen); err != nil {
		l.refuseKey("admin.listen", `%v; "" turns the status page off`, err)
		return
	}
	if valid.SameAddress(a.Listen, l.cfg.Ingest.Listen) {
		l.refuseKey("admin.listen", "is the address of ingest.listen: choose another port")
	}
}

func (l *loader) checkMoEngage() {
	m := &l.cfg.MoEngage
	// The id is part of a URL path and the user name of Basic authentication.
	if strings.ContainsFunc(m.WorkspaceID, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/?#%:", r) }) {
		l.refuseKey("moengage.workspace_id", "has a character that no workspace id has: copy it from MoEngage: Settings, Account, APIs")
	}
	if at, err := netip.ParseAddr(m.ForwardedFor); m.ForwardedFor != "" && (err != nil || at.Zone() != "" || at.IsUnspecified()) {
		l.refuseKey("moengage.forwarded_for", `must be the one address that MoEngage sees this host under, like "203.0.113.7", or "" to send none`)
	}
	if m.BaseURL == "" {
		return
	}
	if strings.Contains(m.BaseURL, "@") {
		// The value is left out because it may contain a password.
		l.add(l.cfg.origins["moengage.base_url"].fault("moengage.base_url", "",
			"must not hold a user or password: they go to moengage.workspace_id and moengage.api_key"))
		return
	}
	u, err := url.Parse(m.BaseURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		l.refuseKey("moengage.base_url", `must be a URL like "https://api-01.moengage.com" or "http://127.0.0.1:8490"`)
	case u.RawQuery != "" || u.Fragment != "":
		l.refuseKey("moengage.base_url", "must end before any ? or #")
	}
}

func (l *loader) checkSchedule() {
	s := &l.cfg.Schedule
	if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "" {
		l.refuseKey("schedule.timezone", `is not a known time zone: write a name like "Europe/Berlin", or "UTC"`)
	}
	if err := valid.CronSpec(s.Cron, l.cfg.Location()); err != nil {
		l.refuseKey("schedule.cron", "%v", err)
	}
	if v := l.cfg.Verify.Schedule; v != "" {
		if err := valid.CronSpec(v, l.cfg.Location()); err != nil {
			l.refuseKey("verify.schedule", "%v", err)
		}
	}
}

func (l *loader) checkComputation(c *Computation, prefix string) {
	l.checkPolicy(fields(&c.Policy, prefix))
	if c.Schedule != "" {
		if err := valid.CronSpec(c.Schedule, l.cfg.Location()); err != nil {
			l.refuse(keyed(c, prefix, "schedule"), err.Error())
		}
	}
	l.checkAttribute(c, prefix)
	l.checkCohort(c, prefix)
}

// checkPolicy checks the names set in this section. Inherited names are checked in [defaults].
func (l *loader) checkPolicy(policy []field) {
	for _, f := range policy {
		if !l.given(f.key) {
			continue
		}
		var err error
		switch _, word := document.SplitKey(f.key); word {
		case "enter_event", "exit_event", "trait_event":
			if err = valid.EventName(*f.ptr.(*string)); err != nil {
				err = fmt.Errorf("%w: choose another name", err)
			}
		case "list_attribute":
			if err = valid.AttributeName(*f.ptr.(*string)); err != nil {
				err = fmt.Errorf("%w: choose another name", err)
			}
		case "forward_traits":
			err = valid.ForwardTraits(*f.ptr.(*[]string))
		}
		if err != nil {
			l.refuse(f, err.Error())
		}
	}
}

// checkAttribute checks the attribute name of a computation, which defaults to its key.
func (l *loader) checkAttribute(c *Computation, prefix string) {
	switch {
	case l.given(prefix + "attribute"):
		if err := valid.AttributeName(c.Attribute); err != nil {
			l.refuse(keyed(c, prefix, "attribute"), err.Error()+": choose another name")
		}
	case c.Key != "" && sendsAttribute(c.Send):
		if err := valid.AttributeName(c.Key); err != nil {
			l.refuse(keyed(c, prefix, "key"), fmt.Sprintf("names the attribute too, and %v: set attribute to another name", err))
		}
	}
}

// checkCohort checks the cohort name of a computation, which defaults to its key.
func (l *loader) checkCohort(c *Computation, prefix string) {
	switch {
	case l.given(prefix + "cohort_name"):
		if err := valid.CohortName(c.CohortName); err != nil {
			l.refuse(keyed(c, prefix, "cohort_name"), err.Error())
		}
	case c.Key != "" && c.Send.Has(domain.SendCohort):
		if err := valid.CohortName(c.Key); err != nil {
			l.refuse(keyed(c, prefix, "key"), fmt.Sprintf("names the cohort too, and %v as cohort_name", err))
		}
	}
}

// checkNames refuses two sections that would write the same attribute or change the same cohort. It compares
// names as they are sent, after shortening and replacement. Lists may share an attribute with each other only.
func (l *loader) checkNames() {
	l.checkApart("attribute", "writes the attribute", sendsAttribute, func(c *Computation) string { return c.Attribute }, domain.AttributeName)
	l.checkApart("cohort_name", "changes the cohort",
		func(set domain.SendMethods) bool { return set.Has(domain.SendCohort) }, func(c *Computation) string { return c.CohortName }, domain.CohortName)
	for i := range l.cfg.Computations {
		c := &l.cfg.Computations[i]
		name := domain.AttributeName(cmp.Or(c.Attribute, c.Key))
		for _, p := range l.policies() {
			if sendsAttribute(c.Send) && p.Send.Has(domain.SendList) && domain.AttributeName(p.ListAttribute) == name {
				l.refuse(keyed(c, l.prefixes[i], "attribute"), fmt.Sprintf("writes the attribute %q, which holds a list of audiences (list_attribute): give it another attribute", wording.Shorten(name)))
				break
			}
		}
	}
}

// policies returns all policies.
func (l *loader) policies() []*Policy {
	all := []*Policy{&l.cfg.Defaults}
	for i := range l.cfg.Computations {
		all = append(all, &l.cfg.Computations[i].Policy)
	}
	return all
}

// checkApart refuses two sections with the same name as sent. The name is the value of the key word, or else
// the computation's key.
func (l *loader) checkApart(word, does string, sends func(domain.SendMethods) bool, value func(*Computation) string, sent func(string) string) {
	owners := map[string]*Computation{}
	for i := range l.cfg.Computations {
		c := &l.cfg.Computations[i]
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
			l.refuse(keyed(c, l.prefixes[i], at), fmt.Sprintf(
				"%s %q, and so does %s.%s: give one of them another %s",
				does, wording.Shorten(name), document.Computations, document.BareKey(owner.Name()), word))
		}
	}
}
