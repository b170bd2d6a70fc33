package field

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Secret is a secret and its predecessors. The first value is current; the others are still accepted during
// rotation. Nil means not set.
//
// A Secret never prints its values: formatting, logging and encoding show only their number. Convert it to
// []string to use them. Package fmt has two gaps that cannot be closed here. It prints unexported struct fields
// without calling their methods, so keep a Secret in exported fields. It also prints the operand of a misused
// %w, which go vet reports.
type Secret []string

// Current returns the secret to present, or "".
func (s Secret) Current() string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// String says whether the secret is set, and nothing else.
func (s Secret) String() string {
	switch len(s) {
	case 0:
		return "(not set)"
	case 1:
		return "(set, 1 value)"
	}
	return fmt.Sprintf("(set, %d values)", len(s))
}

// Format makes every verb of package fmt, including %#v and %x, print String.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue masks the secret in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks the secret in JSON, TOML and every other encoding that asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SecretLines parses a secret's text: one value a line. It ignores empty lines and Windows line ends.
func SecretLines(text string) Secret {
	var s Secret
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if line = strings.TrimSpace(line); line != "" {
			s = append(s, line)
		}
	}
	return s
}
