package config

import "strings"

// Borrow has c count those secrets as set that it lacks only because this process may not see them: from
// is what the running agent says of its own. A credential of systemd is seen by its service alone. A
// secret's file must be the one that c names. It returns the keys, each with its origin.
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

// has reports whether a secret is set here, or where the running agent sees it.
func (c *Config) has(key string, secret Secret) bool {
	_, borrowed := c.borrowed[key]
	return len(secret) > 0 || borrowed
}

// Unread names the secrets that c was read without and that nobody says are set; nil: none.
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

// OnlyUnread reports whether nothing is wrong but that this user may not read a secret, a key or a
// certificate. The agent's user may.
func (f *Faults) OnlyUnread() bool {
	for _, fault := range f.All {
		if !fault.denied {
			return false
		}
	}
	return len(f.All) > 0
}
