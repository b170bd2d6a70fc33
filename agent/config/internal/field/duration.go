package field

import (
	"errors"
	"strings"
	"time"
)

// Duration is a time.Duration that is written as "72h", "1m30s" or "0s".
type Duration struct{ time.Duration }

// String returns the shortest form that ParseDuration accepts: "72h" instead of package time's "72h0m0s".
func (d Duration) String() string {
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses Go's duration syntax and refuses negative durations.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New(`must be a duration like "30s", "15m" or "72h" (a day is 24h)`)
	}
	if parsed < 0 {
		return errors.New("must not be negative")
	}
	d.Duration = parsed
	return nil
}
