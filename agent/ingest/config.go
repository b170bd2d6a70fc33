package ingest

// Config is the part of [ingest] that requests are checked against. Every entry of a list is accepted, so that
// secrets can be rotated. Empty entries are ignored.
type Config struct {
	SharedSecrets []string // of the webhook's X-Signature
	BearerTokens  []string // of the webhook's Authorization header
	WriteKeys     []string // of the Tracking routes
	AuthRequired  bool     // false accepts every request, and counts it as verified
	MaxBodyBytes  int64    // of the webhook route; 0 means the default
	CheckID       func(id string) (fault string)
	AsksConsent   bool // Segment's reserved event about consent is used, and no ordinary one
}

// defaultMaxBody is the default of ingest.max_body_bytes. Segment's largest batches are 4 MB.
const defaultMaxBody = 8 << 20

// completed returns c without empty secrets and with its defaults.
func (c Config) completed() *Config {
	c.SharedSecrets = withoutEmpty(c.SharedSecrets)
	c.BearerTokens = withoutEmpty(c.BearerTokens)
	c.WriteKeys = withoutEmpty(c.WriteKeys)
	if c.MaxBodyBytes <= 0 {
		c.MaxBodyBytes = defaultMaxBody
	}
	return &c
}

// withoutEmpty copies a list without its empty entries. An empty secret would match a missing one.
func withoutEmpty(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
