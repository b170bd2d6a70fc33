package config

import (
	"net/url"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
)

// Effective lists all settings in the order of agent.toml, computations last.
func (c *Config) Effective() []Setting {
	var all []Setting
	for _, f := range field.Of(c, "") {
		all = append(all, c.setting(f))
	}
	for i := range c.Computations {
		s := &c.Computations[i]
		for _, f := range field.Of(s, document.Computations+"."+document.BareKey(s.Name())+".") {
			all = append(all, c.inheritedSetting(f))
		}
	}
	return all
}

func (c *Config) setting(f field.Field) Setting {
	if s, ok := c.borrowed[f.Key]; ok {
		return s
	}
	value, from := f.Show(), c.origins[f.Key]
	if c.blind && f.IsSecret() && f.Key != keyStoreURL && (from.kind == fromSecretFile || from.kind == fromCredential) {
		value = "(not read)"
	}
	return Setting{Key: f.Key, Value: value, Origin: from.String(), Secret: f.IsSecret()}
}

// inheritedSetting returns a computation's setting. A key missing in its section has the origin of the same key
// in [defaults], if there is one.
func (c *Config) inheritedSetting(f field.Field) Setting {
	s := c.setting(f)
	if _, own := c.origins[f.Key]; own {
		return s
	}
	_, word := document.SplitKey(f.Key)
	switch word {
	case "key", "id", "attribute", "cohort_name", "schedule":
		return s
	}
	s.Inherited = true
	s.Origin = c.origins["defaults."+word].String()
	return s
}

// Borrow marks secrets as set that c lacks only because this process may not read them. from has the running
// agent's settings. Only the agent's service sees a systemd credential. For a secret's file, the agent must
// have read the file that c names. Borrow returns the keys, each with its origin.
func (c *Config) Borrow(from []Setting) (names []string) {
	theirs := map[string]Setting{}
	for _, s := range from {
		theirs[s.Key] = s
	}
	for f, secret := range c.secrets() {
		s, known := theirs[f.Key]
		if !known || len(*secret) > 0 || s.Value == Secret(nil).String() {
			continue
		}
		mine := c.origins[f.Key]
		hidden := strings.HasPrefix(s.Origin, origin{kind: fromCredential}.String())
		if mine.kind == fromSecretFile {
			hidden = mine.String() == s.Origin
		}
		if !hidden {
			continue
		}
		if c.borrowed == nil {
			c.borrowed = map[string]Setting{}
		}
		c.borrowed[f.Key] = s
		names = append(names, f.Key+" ("+s.Origin+")")
	}
	return names
}

// has reports whether a secret is set here or borrowed from the running agent.
func (c *Config) has(key string, secret Secret) bool {
	_, borrowed := c.borrowed[key]
	return len(secret) > 0 || borrowed
}

// TakesToken reports whether a bearer token of the webhook is configured, also one that this process may not read.
func (c *Config) TakesToken() bool {
	from := c.origins["ingest.bearer_token"].kind
	return c.has("ingest.bearer_token", c.Ingest.BearerToken) || from == fromSecretFile || from == fromCredential
}

// Secrets returns the values of all secrets that were read, and the password in store.url, for a search after them.
func (c *Config) Secrets() (all []string) {
	for _, secret := range c.secrets() {
		all = append(all, *secret...)
	}
	for _, address := range c.Store.URL {
		if u, err := url.Parse(address); err == nil {
			password, _ := u.User.Password()
			all = append(all, password, u.Query().Get("password"))
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// Receivers names the configured receivers: url, command, heartbeat. A secret that was not read, or that the running agent has, counts.
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

// Unread returns the secrets that c was loaded without and that were not borrowed, or nil.
func (c *Config) Unread() (names []string) {
	for f, secret := range c.secrets() {
		if c.has(f.Key, *secret) {
			continue
		}
		if kind := c.origins[f.Key].kind; kind == fromSecretFile || kind == fromCredential {
			names = append(names, f.Key)
		}
	}
	return names
}
