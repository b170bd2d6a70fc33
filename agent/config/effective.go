package config

// Setting is one key with the value that holds.
type Setting struct {
	Key   string `json:"key"`   // "log.level", "computation.vip.send"
	Value string `json:"value"` // as TOML; of a secret only whether it is set
	// Origin is "default", "agent.toml:12" with the file's path as it was given, "env NAME", or for a
	// secret "file PATH" or "credential NAME".
	Origin    string `json:"origin"`
	Secret    bool   `json:"secret,omitempty"`
	Inherited bool   `json:"inherited,omitempty"` // a computation's value that came from [defaults]
}

// Effective lists every key in the order of agent.toml, the computations last.
func (c *Config) Effective() []Setting {
	var all []Setting
	for _, f := range fields(c, "") {
		all = append(all, c.setting(f))
	}
	for i := range c.Computations {
		s := &c.Computations[i]
		for _, f := range fields(s, computations+"."+bareKey(s.Name())+".") {
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

// inheritedSetting is a computation's setting: one that the section leaves out has the origin of its
// [defaults] key, unless there is none of that name.
func (c *Config) inheritedSetting(f field) Setting {
	s := c.setting(f)
	if _, own := c.origins[f.key]; own {
		return s
	}
	_, word := splitKey(f.key)
	switch word {
	case "key", "id", "attribute", "cohort_name", "schedule":
		return s
	}
	s.Inherited = true
	s.Origin = c.origins["defaults."+word].String()
	return s
}
