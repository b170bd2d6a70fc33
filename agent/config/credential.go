package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/store/domain"
)

// worldReadable is the permission that a file with a secret must not have.
const worldReadable fs.FileMode = 0o004

// maxSecret is the largest secret file in bytes. It is enough for thousands of write keys.
const maxSecret = 64 << 10

// source is a place where a secret was given.
type source struct {
	field field  // the key to report: the secret's own, or its _file
	from  origin // of that key
	path  string // "" if the key itself has the secret
}

// notePermissions warns of secrets in a world-readable configuration file.
func notePermissions(c *Config, mode fs.FileMode) {
	if mode&worldReadable == 0 {
		return
	}
	for _, f := range fields(c, "") {
		secret, ok := f.ptr.(*Secret)
		if ok && len(*secret) > 0 && c.origins[f.key].kind == fromFile {
			c.notes = append(c.notes, fmt.Sprintf(
				"%s holds %s and is readable by everyone on this machine: type chmod o-r %s", c.Path, f.key, domain.ShellWord(c.Path)))
			return
		}
	}
}

// takeSecrets reads every secret from the one place where it was given.
func takeSecrets(r *report, env environment) {
	for _, f := range fields(r.cfg, "") {
		if secret, ok := f.ptr.(*Secret); ok {
			takeSecret(r, env, f, secret)
		}
	}
}

// takeHeader takes an entry of a table of headers, and reports whether it is one. A table becomes lines, so that a file and
// a credential can hold the same.
func takeHeader(r *report, e document.Entry) bool {
	if e.Section > 0 || len(e.Path) == 0 {
		return false
	}
	f, known := r.known[e.Key()]
	if e.Header && known && f.tag.Get("table") != "" && !e.Array {
		r.cfg.origins[f.key] = r.at(e)
		return true
	}
	last := len(e.Path) - 1
	f, known = r.known[document.JoinKey(e.Path[:last])]
	if e.Header || !known || f.tag.Get("table") == "" {
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
		secret := f.ptr.(*Secret)
		*secret = append(*secret, e.Path[last]+": "+texts[0])
		r.cfg.origins[f.key] = r.at(e)
	}
	return true
}

// takeSecret refuses a secret that is given in two places, because rotating only one of them would have no effect.
func takeSecret(r *report, env environment, f field, secret *Secret) {
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
		checkSecret(r, first, f.key, *secret)
		return
	}
	from := first.from
	if from.kind != fromCredential {
		from = origin{kind: fromSecretFile, name: first.path}
	}
	r.cfg.origins[f.key] = from // kept even if the secret may not be read: its location is public
	if r.cfg.blind && f.key != keyStoreURL {
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
	checkSecret(r, first, f.key, lines)
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
func sources(r *report, env environment, f field, inline Secret) []source {
	var given []source
	if len(inline) > 0 {
		given = append(given, source{field: f, from: r.cfg.origins[f.key]})
	}
	file := r.known[f.key+"_file"]
	if path := *file.ptr.(*string); path != "" {
		given = append(given, source{field: file, from: r.cfg.origins[file.key], path: path})
	}
	name := f.tag.Get("credential")
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
	return s.field.key + " (" + s.from.String() + ")"
}

// refuseSource reports a secret that cannot be read. A credential has no key in the file, so its path is shown.
func refuseSource(r *report, s source, err error) {
	defer r.deny(r.count(), err)
	if s.from.kind == fromCredential {
		r.add(faultAt(s.from, s.field.key, "", fmt.Sprintf("%s %v", s.path, err)))
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
	lines := secretLines(string(raw))
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
