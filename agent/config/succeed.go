package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"personasync/agent/config/internal/field"
)

// ErrAtStart is the cause of a refusal that a restart may take: a reload cannot.
var ErrAtStart = errors.New("which a start decides, and no reload")

// Succeed prepares c to replace running. Settings that only a restart can change keep the running values, and
// kept lists their keys. The result is checked again, because a file that is valid by itself may be wrong for
// the address that stays open. On an error, a *Faults, c must not be used.
func (c *Config) Succeed(running *Config) (kept []string, err error) {
	was := map[string]field.Field{}
	for _, f := range field.Of(running, "") {
		was[f.Key] = f
	}
	sameScheme := (running.Ingest.TLSCert != "") == (c.Ingest.TLSCert != "")
	for _, f := range field.Of(c, "") {
		if !fixed(f, sameScheme) {
			continue
		}
		mine, theirs := reflect.ValueOf(f.Ptr).Elem(), reflect.ValueOf(was[f.Key].Ptr).Elem()
		if reflect.DeepEqual(mine.Interface(), theirs.Interface()) {
			continue
		}
		kept = append(kept, f.Key)
		mine.Set(theirs)
		if c.origins == nil {
			c.origins = map[string]origin{}
		}
		c.origins[f.Key] = running.origins[f.Key]
	}
	return kept, c.validate()
}

// SucceedWaiting is Succeed for an agent on PostgreSQL whose store could not be opened: c may name another one there.
func (c *Config) SucceedWaiting(running *Config) error {
	there := c.Store
	if !there.OnPostgres() {
		return fmt.Errorf("the data would be elsewhere (store.engine), %w: systemctl restart personasync", ErrAtStart)
	}
	_, err := c.Succeed(running)
	if c.Store = there; err == nil {
		err = c.validate()
	}
	return err
}

// MovesWorkspace returns an error if c would have a running agent send to another workspace. A start asks the store whether it may,
// and a reload of an agent without one, too, unless other agents share the store.
func (c *Config) MovesWorkspace(running *Config) error {
	was, is := running.Workspace().ID, c.Workspace().ID
	if was == is || was == "" && !c.Store.OnPostgres() {
		return nil
	}
	return fmt.Errorf("changes would go to %s in place of %s, %w: systemctl restart personasync", cmp.Or(is, "no workspace"), cmp.Or(was, "none"), ErrAtStart)
}

// LosesCredentials returns an error if running can check the deliveries of a route and c none of them: a secret's file was
// emptied, or its line removed. The route would answer 503 from then on. A start does so, because it has nothing better.
func (c *Config) LosesCredentials(running *Config) error {
	is, was := &c.Ingest, &running.Ingest
	webhook := len(is.SharedSecret)+len(is.BearerToken) > 0
	any := webhook || len(is.WriteKeys) > 0
	lost, route := "", ""
	switch {
	case is.Auth == "off", was.Auth == "off" && any:
		return nil
	case was.Auth == "off", len(was.SharedSecret)+len(was.BearerToken) > 0 && !webhook:
		lost, route = "neither ingest.shared_secret nor ingest.bearer_token is set", "POST /segment/webhook"
	case len(was.WriteKeys) > 0 && len(is.WriteKeys) == 0:
		lost, route = "ingest.write_keys is not set", "the Tracking API (/v1/…)"
	default:
		return nil
	}
	return fmt.Errorf("%s any more, and %s would answer 503 to every delivery: set it again, as the key, its …_file or its credential; if nothing is to be received there, restart the agent: systemctl restart personasync", lost, route)
}

// ListenAt replaces ingest.listen with the address of an inherited socket. It makes the same checks as Load and
// returns *Faults.
func (c *Config) ListenAt(address string) error {
	c.Ingest.Listen = address
	if c.origins == nil {
		c.origins = map[string]origin{}
	}
	c.origins[keyIngestListen] = origin{kind: fromSystemd}
	return c.validate()
}

// fixed reports whether only a restart can change the field: what keeps the data, locks, listeners, and whether the listener uses
// HTTPS. If that stays, the certificate may come from other files.
func fixed(f field.Field, sameScheme bool) bool {
	switch f.Key {
	case keyDataDir, keyIngestListen, keyAdminListen, keyAdminSocket:
		return true
	case keyTLSCert, keyTLSKey:
		return !sameScheme
	}
	return f.Key == "moengage.replaces_workspace_id" || strings.HasPrefix(f.Key, "store.")
}

// validate repeats Load's checks of values that depend on each other, for a Config that was changed since. It
// does not check single values. The error is a *Faults.
func (c *Config) validate() error {
	r := newReport(c)
	checkStore(&r)
	checkIngest(&r)
	checkAdmin(&r)
	return r.err()
}
