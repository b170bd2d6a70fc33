package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// takeSecrets reads every secret from the one place where it was given.
func (l *loader) takeSecrets() {
	for _, f := range fields(l.cfg, "") {
		if secret, ok := f.ptr.(*Secret); ok {
			l.takeSecret(f, secret)
		}
	}
}

func (l *loader) takeSecret(f field, secret *Secret) {
	given := l.sources(f, *secret)
	if len(given) == 0 {
		return
	}
	first := given[0]
	if len(given) > 1 {
		l.refuse(given[1].field, fmt.Sprintf("the secret is given twice, by %s and by %s: keep one", first.place(), given[1].place()))
		return
	}
	if first.path == "" {
		return
	}
	from := first.from
	if from.kind != fromCredential {
		from = origin{kind: fromSecretFile, name: first.path}
	}
	l.cfg.origins[f.key] = from // kept even if the secret may not be read: its location is public
	if l.cfg.blind {
		return
	}
	lines, err := readSecret(first.path)
	if err != nil {
		l.refuseSource(first, err)
		return
	}
	*secret = lines
}

// sources lists where a secret was given. The environment hides all other places.
func (l *loader) sources(f field, inline Secret) []source {
	var given []source
	if len(inline) > 0 {
		given = append(given, source{field: f, from: l.cfg.origins[f.key]})
	}
	file := l.known[f.key+"_file"]
	if path := *file.ptr.(*string); path != "" {
		given = append(given, source{field: file, from: l.cfg.origins[file.key], path: path})
	}
	name := f.tag.Get("credential")
	if path := l.credential(name); path != "" {
		given = append(given, source{field: f, from: origin{kind: fromCredential, name: name}, path: path})
	}
	fromEnvironment := func(s source) bool { return s.from.kind == fromEnv }
	if slices.ContainsFunc(given, fromEnvironment) {
		given = slices.DeleteFunc(given, func(s source) bool { return !fromEnvironment(s) })
	}
	return given
}

// credential returns the path of a systemd credential, or "".
func (l *loader) credential(name string) string {
	dir := l.env["CREDENTIALS_DIRECTORY"]
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

func (l *loader) refuseSource(s source, err error) {
	defer l.deny(len(l.faults.All), err)
	if s.from.kind == fromCredential {
		l.add(s.from.fault(s.field.key, "", fmt.Sprintf("%s %v", s.path, err)))
		return
	}
	l.refuse(s.field, err.Error())
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
		return errors.New("is not a plain file: name the file that holds the secret")
	case info.Mode()&worldReadable != 0:
		return fmt.Errorf("everyone on this machine can read it (mode %04o): type chmod o-r %s", info.Mode().Perm(), domain.ShellWord(path))
	case info.Size() > maxSecret:
		return fmt.Errorf("has %d bytes, so hardly a secret: name the file that holds it", info.Size())
	}
	return nil
}

// errDenied means that this user may not read a file. Another user may.
var errDenied = errors.New("this user may not read it: make its group that of the agent, with mode 0640")

// deny marks the faults from index n on as caused by missing permission, if err says so.
func (l *loader) deny(n int, err error) {
	for i := n; i < len(l.faults.All); i++ {
		l.faults.All[i].denied = errors.Is(err, errDenied) || errors.Is(err, fs.ErrPermission)
	}
}

func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errDenied
	}
	return fmt.Errorf("cannot be read: %w", reason(err))
}
