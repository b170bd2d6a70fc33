package config

import "personasync/agent/config/internal/document"

// Setting is one key with its effective value.
type Setting struct {
	Key   string `json:"key"`   // "log.level", "computation.vip.send"
	Value string `json:"value"` // as TOML; for a secret only whether it is set
	// Origin is "default", "agent.toml:12" with the path as given, or "env NAME". For a secret it may also be
	// "file PATH" or "credential NAME".
	Origin    string `json:"origin"`
	Secret    bool   `json:"secret,omitempty"`
	Inherited bool   `json:"inherited,omitempty"` // inherited by a computation from [defaults]
}

// Effective lists all settings in the order of agent.toml, computations last.
func (c *Config) Effective() []Setting {
	var all []Setting
	for _, f := range fields(c, "") {
		all = append(all, c.setting(f))
	}
	for i := range c.Computations {
		s := &c.Computations[i]
		for _, f := range fields(s, document.Computations+"."+document.BareKey(s.Name())+".") {
			all = append(all, c.inheritedSetting(f))
		}
	}
	return all
}

func (c *Config) setting(f field) Setting {
	if s, ok := c.borrowed[f.key]; ok {
		return s
	}
	value, from := f.show(), c.origins[f.key]
	if c.blind && f.isSecret() && (from.kind == fromSecretFile || from.kind == fromCredential) {
		value = "(not read)"
	}
	return Setting{Key: f.key, Value: value, Origin: from.String(), Secret: f.isSecret()}
}

// inheritedSetting returns a computation's setting. A key missing in its section has the origin of the same key
// in [defaults], if there is one.
func (c *Config) inheritedSetting(f field) Setting {
	s := c.setting(f)
	if _, own := c.origins[f.key]; own {
		return s
	}
	_, word := document.SplitKey(f.key)
	switch word {
	case "key", "id", "attribute", "cohort_name", "schedule":
		return s
	}
	s.Inherited = true
	s.Origin = c.origins["defaults."+word].String()
	return s
}
