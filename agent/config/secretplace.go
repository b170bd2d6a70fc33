package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"personasync/agent/config/internal/valid"
	"personasync/agent/config/wording"
)

// SecretPlace is where a configuration takes one secret from.
type SecretPlace struct {
	Key        string // of the secret, such as "moengage.api_key"
	Credential string // its name as a credential of systemd
	File       string // the path that KEY_file names; "" if it names none
	Inline     string // where the configuration itself or a variable gives the secret; "" if neither does
}

// SecretPlace finds the place of a secret by its key or by the name of its credential.
func (c *Config) SecretPlace(name string) (SecretPlace, error) {
	var names []string
	for _, f := range fields(c, "") {
		secret, ok := f.ptr.(*Secret)
		if !ok {
			continue
		}
		credential := f.tag.Get("credential")
		if name != f.key && name != credential {
			names = append(names, credential)
			continue
		}
		p := SecretPlace{Key: f.key, Credential: credential}
		if file, ok := keyOf(c, f.key+"_file").ptr.(*string); ok {
			p.File = *file
		}
		if from := c.origins[f.key]; len(*secret) > 0 && (from.kind == fromFile || from.kind == fromEnv) {
			p.Inline = from.String()
		}
		return p, nil
	}
	return SecretPlace{}, fmt.Errorf("there is no secret %q%s: there are %s", name, wording.Hint(wording.Nearest(name, names), "%s"), strings.Join(names, ", "))
}

// keyOf returns the field of a key.
func keyOf(c *Config, key string) field {
	for _, f := range fields(c, "") {
		if f.key == key {
			return f
		}
	}
	return field{}
}

// ParseSecret reads the text of a secret, one value a line, and returns why it cannot be the secret of this key. Its errors
// never quote the text.
func ParseSecret(key, text string) (Secret, error) {
	lines := secretLines(text)
	switch {
	case strings.ContainsRune(text, 0):
		return nil, errors.New("it is not text")
	case len(text) > maxSecret:
		return nil, fmt.Errorf("it has %d bytes, too many for a secret", len(text))
	case len(lines) == 0:
		return nil, errors.New("it is empty")
	}
	if err := secretShape(key, lines, "it "); err != nil {
		return nil, err
	}
	return lines, nil
}

// shapes has the secrets that are more than a word, and what refuses a value of them.
var shapes = map[string]func(value string) error{
	keyHeaders: valid.HeaderLine, keyStoreURL: valid.Database, keyNotifyURL: valid.Webhook, keyHeartbeatURL: valid.Webhook,
}

// secretShape returns why one of the values cannot be that of a key. The sentence begins with only where there is one value.
func secretShape(key string, values Secret, only string) error {
	shape := shapes[key]
	if shape == nil {
		shape = isWord
	}
	for i, value := range values {
		if err := shape(value); err != nil {
			if len(values) > 1 {
				only = fmt.Sprintf("line %d ", i+1)
			}
			return fmt.Errorf("%s%w", only, err)
		}
	}
	return nil
}

// isWord returns why value cannot be a key, a token or a password.
func isWord(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("has a space or a control character in it, which no secret has: copy it again, without a word such as Bearer")
	}
	if q := value[0]; len(value) > 1 && (q == '"' || q == '\'') && value[len(value)-1] == q {
		return errors.New("is in quotes: give it without them")
	}
	return nil
}
