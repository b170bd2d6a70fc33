package config

// Succeed prepares c to take over from running, the configuration in force. What only a restart can
// change is put back to what it is, its keys are named in kept, and the result is checked again: a
// file that is right by itself need not be right for the address that stays open. The error is a
// *Faults; c is of no use then.
func (c *Config) Succeed(running *Config) (kept []string, err error) {
	was := map[string]field{}
	for _, f := range fields(running, "") {
		was[f.key] = f
	}
	sameScheme := (running.Ingest.TLSCert != "") == (c.Ingest.TLSCert != "")
	for _, f := range fields(c, "") {
		if !f.fixed(sameScheme) {
			continue
		}
		mine, theirs := f.ptr.(*string), was[f.key].ptr.(*string)
		if *mine == *theirs {
			continue
		}
		kept = append(kept, f.key)
		*mine = *theirs
		if c.origins == nil {
			c.origins = map[string]origin{}
		}
		c.origins[f.key] = running.origins[f.key]
	}
	return kept, c.Validate()
}

// ListenAt makes address, where somebody else listens for the agent already, stand for ingest.listen.
// What Load would refuse of it is refused: the error is a *Faults.
func (c *Config) ListenAt(address string) error {
	c.Ingest.Listen = address
	if c.origins == nil {
		c.origins = map[string]origin{}
	}
	c.origins["ingest.listen"] = origin{kind: fromSystemd}
	return c.Validate()
}

// fixed reports whether only a restart changes the field: what is locked or listened on, and whether
// that speaks HTTPS. Where it goes on doing so, or not, the certificate may come from other files.
func (f field) fixed(sameScheme bool) bool {
	switch f.key {
	case "data_dir", "ingest.listen", "admin.listen", "admin.socket":
		return true
	case "ingest.tls_cert", "ingest.tls_key":
		return !sameScheme
	}
	return false
}

// Validate refuses values that cannot stand beside each other, with all that Load refuses there. It is
// for a Config that was changed since; single values are not looked at again. The error is a *Faults.
func (c *Config) Validate() error {
	l := checker(c)
	l.checkIngest()
	l.checkAdmin()
	if len(l.faults.All) == 0 {
		return nil
	}
	l.faults.sort()
	return &l.faults
}
