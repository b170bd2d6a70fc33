package config

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/internal/valid"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// worldReadable is the permission that a file with a secret must not have.
const worldReadable fs.FileMode = 0o004

// maxSecret is the largest secret file in bytes. It is enough for thousands of write keys.
const maxSecret = 64 << 10

// source is a place where a secret was given.
type source struct {
	field field.Field // the key to report: the secret's own, or its _file
	from  origin      // of that key
	path  string      // "" if the key itself has the secret
}

// secrets walks the secrets of c.
func (c *Config) secrets() iter.Seq2[field.Field, *Secret] {
	return func(yield func(field.Field, *Secret) bool) {
		for _, f := range field.Of(c, "") {
			if secret, ok := f.Ptr.(*Secret); ok && !yield(f, secret) {
				return
			}
		}
	}
}

// notePermissions warns of secrets in a world-readable configuration file.
func notePermissions(c *Config, mode fs.FileMode) {
	if mode&worldReadable == 0 {
		return
	}
	for f, secret := range c.secrets() {
		if len(*secret) > 0 && c.origins[f.Key].kind == fromFile {
			c.notes = append(c.notes, fmt.Sprintf(
				"%s holds %s and is readable by everyone on this machine: type chmod o-r %s", c.Path, f.Key, domain.ShellWord(c.Path)))
			return
		}
	}
}

// takeSecrets reads every secret from the one place where it was given.
func takeSecrets(r *report, env environment) {
	for f, secret := range r.cfg.secrets() {
		takeSecret(r, env, f, secret)
	}
}

// takeHeader takes an entry of a table of headers, and reports whether it is one. A table becomes lines, so that a file and
// a credential can hold the same.
func takeHeader(r *report, e document.Entry) bool {
	if e.Section > 0 || len(e.Path) == 0 {
		return false
	}
	f, known := r.known[e.Key()]
	if e.Header && known && f.Tag.Get("table") != "" && !e.Array {
		r.cfg.origins[f.Key] = r.at(e)
		return true
	}
	last := len(e.Path) - 1
	f, known = r.known[document.JoinKey(e.Path[:last])]
	if e.Header || !known || f.Tag.Get("table") == "" {
		return false
	}
	texts, err := e.Value.Texts()
	if e.Value.Kind == document.Text {
		texts, err = []string{e.Value.Text}, nil
	}
	switch {
	case err != nil || len(texts) != 1:
		r.add(faultAt(r.at(e), e.Key(), "(hidden)", "must be text in double quotes"))
	case strings.ContainsAny(texts[0], "\r\n"):
		r.add(faultAt(r.at(e), e.Key(), "(hidden)", "must not have a line break: it would begin another header"))
	default:
		secret := f.Ptr.(*Secret)
		*secret = append(*secret, e.Path[last]+": "+texts[0])
		r.cfg.origins[f.Key] = r.at(e)
	}
	return true
}

// takeSecret refuses a secret that is given in two places, because rotating only one of them would have no effect.
func takeSecret(r *report, env environment, f field.Field, secret *Secret) {
	given := sources(r, env, f, *secret)
	if len(given) == 0 {
		return
	}
	first := given[0]
	if len(given) > 1 {
		r.refuse(given[1].field, fmt.Sprintf("the secret is given twice, by %s and by %s: keep one", first.place(), given[1].place()))
		return
	}
	if first.path == "" {
		checkSecret(r, first, f.Key, *secret)
		return
	}
	from := first.from
	if from.kind != fromCredential {
		from = origin{kind: fromSecretFile, name: first.path}
	}
	r.cfg.origins[f.Key] = from // kept even if the secret may not be read: its location is public
	if r.cfg.blind && f.Key != keyStoreURL {
		return
	}
	lines, err := readSecret(first.path)
	if err != nil && r.cfg.blind {
		return
	}
	if err != nil {
		refuseSource(r, first, err)
		return
	}
	*secret = lines
	checkSecret(r, first, f.Key, lines)
}

// checkSecret refuses a value that no secret has. Those that are more than a word have checks of their own, which know the
// other settings.
func checkSecret(r *report, given source, key string, values Secret) {
	if shapes[key] != nil {
		return
	}
	if err := secretShape(key, values, ""); err != nil {
		refuseSource(r, given, err)
	}
}

// sources lists where a secret was given. The environment hides all other places.
func sources(r *report, env environment, f field.Field, inline Secret) []source {
	var given []source
	if len(inline) > 0 {
		given = append(given, source{field: f, from: r.cfg.origins[f.Key]})
	}
	file := r.known[f.Key+"_file"]
	if path := *file.Ptr.(*string); path != "" {
		given = append(given, source{field: file, from: r.cfg.origins[file.Key], path: path})
	}
	name := f.Tag.Get("credential")
	if path := credential(env, name); path != "" {
		given = append(given, source{field: f, from: origin{kind: fromCredential, name: name}, path: path})
	}
	fromEnvironment := func(s source) bool { return s.from.kind == fromEnv }
	if slices.ContainsFunc(given, fromEnvironment) {
		given = slices.DeleteFunc(given, func(s source) bool { return !fromEnvironment(s) })
	}
	return given
}

// credential returns the path of a systemd credential, or "".
func credential(env environment, name string) string {
	dir := env["CREDENTIALS_DIRECTORY"]
	if dir == "" {
		return ""
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path
}

// place describes a source in a message.
func (s source) place() string {
	if s.from.kind == fromCredential {
		return s.from.String()
	}
	return s.field.Key + " (" + s.from.String() + ")"
}

// refuseSource reports a secret that cannot be read. A credential has no key in the file, so its path is shown.
func refuseSource(r *report, s source, err error) {
	defer r.deny(r.count(), err)
	if s.from.kind == fromCredential {
		r.add(faultAt(s.from, s.field.Key, "", fmt.Sprintf("%s %v", s.path, err)))
		return
	}
	r.refuse(s.field, err.Error())
}

// readSecret reads a file that contains one secret. Its errors say what to do and never quote the file.
func readSecret(path string) (Secret, error) {
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	lines := field.SecretLines(string(raw))
	if len(lines) == 0 {
		return nil, errors.New("is empty: write the secret into it, on a line of its own")
	}
	if strings.ContainsRune(string(raw), 0) {
		return nil, errors.New("is not a text file: write the secret into it, on a line of its own")
	}
	return lines, nil
}

// checkPrivate refuses a file that is not regular, is too large, or is world-readable.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file: write the secret into it, or correct the path")
	case err != nil:
		return unreadable(err)
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file: name the file with the secret")
	case info.Mode()&worldReadable != 0:
		return fmt.Errorf("everyone on this machine can read it (mode %04o): type chmod o-r %s", info.Mode().Perm(), domain.ShellWord(path))
	case info.Size() > maxSecret:
		return fmt.Errorf("has %d bytes, too many for a secret: name the file with the secret", info.Size())
	}
	return nil
}

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
	for f, secret := range c.secrets() {
		credential := f.Tag.Get("credential")
		if name != f.Key && name != credential {
			names = append(names, credential)
			continue
		}
		p := SecretPlace{Key: f.Key, Credential: credential}
		if file, ok := keyOf(c, f.Key+"_file").Ptr.(*string); ok {
			p.File = *file
		}
		if from := c.origins[f.Key]; len(*secret) > 0 && (from.kind == fromFile || from.kind == fromEnv) {
			p.Inline = from.String()
		}
		return p, nil
	}
	return SecretPlace{}, fmt.Errorf("there is no secret %q%s: there are %s", name, wording.Hint(wording.Nearest(name, names), "%s"), strings.Join(names, ", "))
}

// keyOf returns the field of a key.
func keyOf(c *Config, key string) field.Field {
	for _, f := range field.Of(c, "") {
		if f.Key == key {
			return f
		}
	}
	return field.Field{}
}

// ParseSecret reads the text of a secret, one value a line, and returns why it cannot be the secret of this key. Its errors
// never quote the text.
func ParseSecret(key, text string) (Secret, error) {
	lines := field.SecretLines(text)
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
	if !utf8.ValidString(value) {
		return errors.New("has bytes in it that are no text: copy it again")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("has a space or a control character in it, which no secret has: copy it again, without a word such as Bearer")
	}
	if q := value[0]; len(value) > 1 && (q == '"' || q == '\'') && value[len(value)-1] == q {
		return errors.New("is in quotes: give it without them")
	}
	return nil
}
