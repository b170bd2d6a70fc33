package config

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Secret is a secret with its predecessors: the first is current, the others are still accepted while
// it is being rotated. Nil is a secret that was not given.
//
// A Secret does not print: whatever formats, logs or encodes it sees only how many values there are.
// To use the values, convert it to []string. Two doors cannot be closed from here, both of package fmt:
// it looks into a struct's unexported fields without asking their types, so keep a Secret in exported
// ones; and it shows what %w is given by mistake, which go vet reports.
type Secret []string

// Current is the secret to present, "" when there is none.
func (s Secret) Current() string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// String tells whether the secret is set, and no more.
func (s Secret) String() string {
	switch len(s) {
	case 0:
		return "(not set)"
	case 1:
		return "(set, 1 value)"
	}
	return fmt.Sprintf("(set, %d values)", len(s))
}

// Format makes every verb of package fmt, %#v and %x too, print what String says.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue masks the secret in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks the secret in JSON, TOML and every other encoding that asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// secretLines reads the text of a secret: one value a line. Files written on Windows or by an editor
// that ends them with empty lines are what they seem to be.
func secretLines(text string) Secret {
	var s Secret
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if line = strings.TrimSpace(line); line != "" {
			s = append(s, line)
		}
	}
	return s
}
