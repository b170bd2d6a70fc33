package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/internal/valid"
)

// newestLimit is the limit of users, and of events, per minute on MoEngage's newest pages.
const newestLimit = 60_000

// cohortLimit is MoEngage's limit of Cohort Sync requests per minute.
const cohortLimit = 300

// Warnings lists settings that are allowed but probably not intended or have a cost, one sentence each.
func (c *Config) Warnings() []string {
	var w []string
	say := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }

	c.warnStore(say)
	c.warnIngest(say)
	c.warnAdmin(say)
	c.warnMoEngage(say)
	c.warnSchedule(say)
	c.warnNotify(say)
	c.warnPolicies(say)
	return append(w, c.notes...)
}

// sayer adds a warning.
type sayer func(format string, args ...any)

func (c *Config) warnIngest(say sayer) {
	in := &c.Ingest
	switch {
	case in.Auth == "off":
		say("ingest.auth is off: every program on this machine can post events")
	case c.blind:
	default:
		if !c.has("ingest.shared_secret", in.SharedSecret) && !c.has("ingest.bearer_token", in.BearerToken) {
			say("neither ingest.shared_secret nor ingest.bearer_token is set: POST /segment/webhook will answer 503")
		}
		if !c.has("ingest.write_keys", in.WriteKeys) {
			say("ingest.write_keys is not set: the Tracking API routes (/v1/…) will answer 503")
		}
	}
	// Segment discards a delivery that a webhook answers with 413, and an event may have 32 KB.
	if in.MaxBodyBytes < 64<<10 {
		say("ingest.max_body_bytes is %d: Segment does not send a refused body again, and a single event may have 32 KB", in.MaxBodyBytes)
	}
}

func (c *Config) warnAdmin(say sayer) {
	if c.Admin.Listen == "" {
		return
	}
	if local, _ := valid.HostPort(c.Admin.Listen); !local {
		say("admin.listen is %q: the status page has no password, and other machines can reach it", c.Admin.Listen)
	}
}

func (c *Config) warnMoEngage(say sayer) {
	m := &c.MoEngage
	if at, err := netip.ParseAddr(m.ForwardedFor); err == nil && (at.IsPrivate() || at.IsLoopback() || at.IsLinkLocalUnicast()) {
		say("moengage.forwarded_for is %s, an address of a private network: MoEngage compares the public one that this host is seen under", m.ForwardedFor)
	}
	for _, f := range c.missing() {
		say("%s is not set: `personasync run` will not start", f.Key)
	}
	if m.UsersPerMinute > newestLimit {
		say("moengage.users_per_minute is %d: MoEngage allows %d unless it raised your limit", m.UsersPerMinute, newestLimit)
	}
	if m.EventsPerMinute > newestLimit {
		say("moengage.events_per_minute is %d: MoEngage allows %d unless it raised your limit", m.EventsPerMinute, newestLimit)
	}
	if m.CohortsPerMinute > cohortLimit {
		say("moengage.cohorts_per_minute is %d: MoEngage allows %d unless it raised your limit", m.CohortsPerMinute, cohortLimit)
	}
	if m.MaxRequestBytes > Default().MoEngage.MaxRequestBytes {
		say("moengage.max_request_bytes is %d: MoEngage's pages allow 100 KB, and refuse larger requests", m.MaxRequestBytes)
	}
	if m.BaseURL != "" && m.DataCenter != Default().MoEngage.DataCenter {
		say("moengage.data_center is not used, because moengage.base_url is set")
	}
	if u, err := url.Parse(m.BaseURL); err == nil && u.Scheme == "http" && !valid.IsLoopback(u.Hostname()) {
		say("moengage.base_url is plain http: the API key and all users cross the network unencrypted")
	}
	if m.DeleteUsers && c.Ingest.OnDelete == "ignore" {
		say("moengage.delete_users deletes nobody for Segment, because ingest.on_delete is \"ignore\"; only `personasync user forget ID --moengage` does")
	}
	if m.RealTimeAction {
		say("moengage.real_time_action: MoEngage's pages disagree about it, so try it in a test workspace first")
	}
}

func (c *Config) warnSchedule(say sayer) {
	if s := &c.Schedule; s.Mode != "cron" && s.Cron != Default().Schedule.Cron {
		say("schedule.cron is not used, because schedule.mode is %q", s.Mode)
	}
	if b := &c.Backup; b.Schedule == "" && b.Dir != "" {
		say("backup.dir is not used, because backup.schedule is not set: no backup is made")
	}
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

// warnPolicies warns about [defaults], and about a section only where it differs.
func (c *Config) warnPolicies(say sayer) {
	c.warnPolicy(say, "defaults", &c.Defaults, nil)
	for i := range c.Computations {
		s := &c.Computations[i]
		c.warnPolicy(say, document.Computations+"."+document.BareKey(s.Name()), &s.Policy, &c.Defaults)
	}
}

// warnPolicy warns about one policy. inherited is that of [defaults], or nil for [defaults] itself.
func (c *Config) warnPolicy(say sayer, name string, p, inherited *Policy) {
	differs := func(same func(*Policy) bool) bool { return inherited == nil || !same(inherited) }

	if c.MoEngage.UpdateExistingOnly && sendsEvent(p.Send) && differs(func(d *Policy) bool { return sendsEvent(d.Send) }) {
		say("moengage.update_existing_only is on, but %s.send is %s: MoEngage creates unknown users for events all the same",
			name, field.ShowSend(p.Send))
	}
	if sendsMembership(p.Send) && differs(func(d *Policy) bool { return d.Send == p.Send }) {
		say("%s.send is %s: that sends only memberships, and no values of computed traits; give traits a section of their own, with send = \"attribute\"",
			name, field.ShowSend(p.Send))
	}
	if p.Share < 1 && p.Share+p.Holdout > 1 && differs(func(d *Policy) bool { return d.Share == p.Share && d.Holdout == p.Holdout }) {
		say("%[1]s.share is %[2]v and %[1]s.holdout is %[3]v, together more than all users: the holdout comes first, so that at most %.6[4]g of the users are told",
			name, p.Share, p.Holdout, 1-p.Holdout)
	}
	if p.OnNull == "unset" && differs(func(d *Policy) bool { return d.OnNull == p.OnNull }) {
		say(`%s.on_null is "unset": an early access feature, which MoEngage must enable for your workspace`, name)
	}
	if keeps := func(p *Policy) bool { return len(p.Consent) > 0 && p.OnNull == "skip" && sendsAttribute(p.Send) }; keeps(p) && differs(keeps) {
		say(`%s.consent is set, and %s.on_null is "skip": the value of a computed trait stays at MoEngage when its user withdraws consent; on_null = "empty" or "unset" removes it`, name, name)
	}
	for _, event := range []struct {
		key  string
		name func(*Policy) string
	}{
		{"enter_event", func(p *Policy) string { return p.EnterEvent }},
		{"exit_event", func(p *Policy) string { return p.ExitEvent }},
		{"trait_event", func(p *Policy) string { return p.TraitEvent }},
	} {
		odd := valid.OddInEvent(event.name(p))
		if odd != "" && differs(func(d *Policy) bool { return event.name(d) == event.name(p) }) {
			say("%s.%s is %q: MoEngage's naming rules forbid %s", name, event.key, event.name(p), odd)
		}
	}
}

// Complete returns nil if an agent can run on the configuration, or *Faults with the missing settings that have
// no useful default. Load does not require them, because most commands work without.
func (c *Config) Complete() error {
	var missing []Fault
	for _, f := range c.missing() {
		problem := "must be set: copy it from MoEngage: Settings, Account, APIs"
		if f.IsSecret() {
			what := "the Data API key in MoEngage: Settings, Account, APIs"
			if f.Key == keyStoreURL {
				what = "the address of the database, because store.engine is \"postgres\""
			}
			problem = fmt.Sprintf("must be set as this key, as %s_file or as the credential %s: it is %s", f.Key, f.Tag.Get("credential"), what)
		}
		missing = append(missing, Fault{Key: f.Key, Problem: problem})
	}
	if missing == nil {
		return nil
	}
	return &Faults{Path: c.Path, All: missing}
}

// missing returns the settings without which an agent cannot work. A secret that was not read may exist.
func (c *Config) missing() []field.Field {
	var missing []field.Field
	if c.Store.OnPostgres() && !c.has(keyStoreURL, c.Store.URL) && !c.blind {
		missing = append(missing, field.Named(&c.Store, "store.", "url"))
	}
	if c.MoEngage.WorkspaceID == "" {
		missing = append(missing, field.Named(&c.MoEngage, "moengage.", "workspace_id"))
	}
	if !c.has("moengage.api_key", c.MoEngage.APIKey) && !c.blind {
		missing = append(missing, field.Named(&c.MoEngage, "moengage.", "api_key"))
	}
	return missing
}
