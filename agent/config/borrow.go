package config

import "strings"

// Borrow marks secrets as set that c lacks only because this process may not read them. from has the running
// agent's settings. Only the agent's service sees a systemd credential. For a secret's file, the agent must
// have read the file that c names. Borrow returns the keys, each with its origin.
func (c *Config) Borrow(from []Setting) (names []string) {
	theirs := map[string]Setting{}
	for _, s := range from {
		theirs[s.Key] = s
	}
	for _, f := range fields(c, "") {
		secret, ok := f.ptr.(*Secret)
		s, known := theirs[f.key]
		if !ok || !known || len(*secret) > 0 || s.Value == Secret(nil).String() {
			continue
		}
		mine := c.origins[f.key]
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
		c.borrowed[f.key] = s
		names = append(names, f.key+" ("+s.Origin+")")
	}
	return names
}

// has reports whether a secret is set here or borrowed from the running agent.
func (c *Config) has(key string, secret Secret) bool {
	_, borrowed := c.borrowed[key]
	return len(secret) > 0 || borrowed
}

// Unread returns the secrets that c was loaded without and that were not borrowed, or nil.
func (c *Config) Unread() (names []string) {
	for _, f := range fields(c, "") {
		secret, ok := f.ptr.(*Secret)
		if !ok || c.has(f.key, *secret) {
			continue
		}
		if kind := c.origins[f.key].kind; kind == fromSecretFile || kind == fromCredential {
			names = append(names, f.key)
		}
	}
	return names
}

// OnlyUnread reports whether the only faults are secrets, keys or certificates that this user may not read. The
// agent's user may be able to.
func (f *Faults) OnlyUnread() bool {
	for _, fault := range f.All {
		if !fault.denied {
			return false
		}
	}
	return len(f.All) > 0
}
