package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/valid"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// ErrNoFile means that no agent.toml was found at any of the usual places.
var ErrNoFile = errors.New("no agent.toml found")

// systemFile is where a package installs the configuration.
var systemFile = "/etc/personasync/agent.toml"

// Find returns the configuration file: the --config flag, or else $PERSONASYNC_CONFIG, or else agent.toml in
// the working directory, or else the system's. A file named by flag or variable must exist. Without any file
// the error is ErrNoFile; an agent can still run from the environment alone.
func Find(flag string, getenv func(string) string) (path string, err error) {
	named, by := flag, "--config"
	if named == "" {
		named, by = getenv(fileVariable), "$"+fileVariable
	}
	if named != "" {
		if _, err := os.Stat(named); err != nil {
			return "", fmt.Errorf("%s names %s: %w", by, named, reason(err))
		}
		return named, nil
	}
	for _, path := range []string{"agent.toml", systemFile} {
		_, err := os.Stat(path)
		switch {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", &fs.PathError{Op: "look for", Path: path, Err: reason(err)}
		}
	}
	return "", fmt.Errorf("%w, neither here nor at %s: write one with `personasync config init`, or name one with --config", ErrNoFile, systemFile)
}

// reason strips the path from an error whose message names it anyway.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// Load reads the file at path, or none if path is "", and applies environ, which has the form of os.Environ. It
// returns all mistakes at once as *Faults. Any other error means that the file could not be read. No error is
// temporary.
func Load(path string, environ []string) (*Config, error) {
	return load(path, environ, false)
}

// LoadWithoutSecrets is Load for a process that does not need secrets and may not be allowed to read them, such
// as a command that looks for the agent's socket. It opens no secret file, key or credential.
func LoadWithoutSecrets(path string, environ []string) (*Config, error) {
	return load(path, environ, true)
}

func load(path string, environ []string, blind bool) (*Config, error) {
	l := newLoader(path, environ, blind)
	if path == "" {
		return l.read(nil)
	}
	doc, mode, err := readFile(path)
	if err != nil {
		return nil, err
	}
	l.mode = mode
	return l.read(doc)
}

// maxFile is the largest configuration file in bytes. A larger file is something else.
const maxFile = 4 << 20

func readFile(path string) (doc []byte, mode fs.FileMode, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, &fs.PathError{Op: "read", Path: path, Err: reason(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", path, reason(err))
	}
	if info.IsDir() {
		return nil, 0, fmt.Errorf("read %s: it is a folder: name the file in it, which is called agent.toml as a rule", path)
	}
	doc, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", path, reason(err))
	}
	if len(doc) > maxFile {
		return nil, 0, fmt.Errorf("read %s: larger than %d bytes, so hardly an agent.toml", path, maxFile)
	}
	return doc, info.Mode(), nil
}

// loader is the state of one Load.
type loader struct {
	cfg    *Config
	folder string // start of relative paths; "" leaves them relative
	mode   fs.FileMode
	env    environment

	known    map[string]field   // keys at the top level and in [defaults], by name
	sections [][]document.Entry // entries of each [[computation]]
	prefixes []string           // of the full names of their keys, once known
	reported map[string]bool    // sections refused as a whole
	faulty   map[string]bool    // keys with a fault
	faults   Faults
}

func newLoader(path string, environ []string, blind bool) *loader {
	cfg := Default()
	cfg.Path, cfg.blind = path, blind
	cfg.origins = map[string]origin{}
	l := checker(cfg)
	l.env = parseEnvironment(environ)
	if path != "" {
		l.folder = filepath.Dir(path)
		if absolute, err := filepath.Abs(l.folder); err == nil {
			l.folder = absolute
		}
	}
	return l
}

// checker returns a loader that checks cfg without reading.
func checker(cfg *Config) *loader {
	l := &loader{
		cfg:      cfg,
		known:    map[string]field{},
		reported: map[string]bool{},
		faulty:   map[string]bool{},
		faults:   Faults{Path: cfg.Path},
	}
	for _, f := range fields(cfg, "") {
		l.known[f.key] = f
	}
	return l
}

// read builds the configuration from a document and the environment.
func (l *loader) read(doc []byte) (*Config, error) {
	doc = []byte(strings.TrimPrefix(string(doc), "\ufeff"))
	entries, fault := document.Parse(doc)
	if fault != nil {
		l.faults.All = append(l.faults.All, syntaxFault(l.cfg.Path, doc, fault))
		return nil, &l.faults // nothing after a syntax error can be trusted
	}

	l.lay(entries)
	if len(l.faults.All) > 0 {
		l.faults.sort()
		return nil, &l.faults
	}
	l.notePermissions()
	return l.cfg, nil
}

// lay applies entries and the environment, and collects faults.
func (l *loader) lay(entries []document.Entry) {
	for _, e := range entries {
		l.take(e)
	}
	l.takeEnvironment()
	l.resolvePaths()
	l.takeSecrets()
	l.takeSections() // after the environment, because they inherit its [defaults]
	l.check()
}

// take applies one entry. Entries of a [[computation]] are collected for later.
func (l *loader) take(e document.Entry) {
	key := e.Key()
	switch f, known := l.known[key]; {
	case e.Section > 0:
		for len(l.sections) < e.Section {
			l.sections = append(l.sections, nil)
		}
		l.sections[e.Section-1] = append(l.sections[e.Section-1], e)
	case e.Header:
		l.checkHeader(e)
	case l.inReported(e.Path):
	case known:
		l.set(f, e)
	default:
		l.unknown(e)
	}
}

func (l *loader) set(f field, e document.Entry) {
	if err := f.set(e.Value); err != nil {
		l.add(l.at(e).fault(f.key, mask(f, e.Value), err.Error()))
		return
	}
	l.cfg.origins[f.key] = l.at(e)
}

func (l *loader) at(e document.Entry) origin {
	return origin{kind: fromFile, name: l.cfg.Path, line: e.Line}
}

func mask(f field, v document.Value) string {
	if f.isSecret() {
		return "(hidden)"
	}
	return v.String()
}

func (l *loader) checkHeader(e document.Entry) {
	key := e.Key()
	_, isKey := l.known[key]
	problem := ""
	switch {
	case l.inReported(e.Path):
		return
	case e.Path[0] == document.Computations:
		problem = "must be written [[computation]], with key = \"…\" or id = \"…\" below it: there may be several"
	case isKey:
		problem = "is a key, not a section"
	case !l.isSection(key):
		problem = "there is no such section" + wording.Hint(wording.Nearest(key, l.sectionNames()), "[%s]")
	case e.Array:
		problem = fmt.Sprintf("must be written [%s]: there is only one", key)
	default:
		return
	}
	l.reported[key] = true
	l.add(l.at(e).fault("["+key+"]", "", problem))
}

// inReported reports whether the path is in a section that was refused as a whole.
func (l *loader) inReported(path []string) bool {
	for n := 1; n <= len(path); n++ {
		if l.reported[document.JoinKey(path[:n])] {
			return true
		}
	}
	return false
}

func (l *loader) unknown(e document.Entry) {
	key := e.Key()
	switch {
	case key == document.Computations:
		l.add(l.at(e).fault(key, "", "must be written as sections, [[computation]] with its keys below"))
	case l.isSection(key):
		l.add(l.at(e).fault(key, "", fmt.Sprintf("is a section: write [%s], and its keys below", key)))
	case len(e.Path) > 1 && !l.isSection(e.Path[0]):
		l.checkHeader(document.Entry{Path: e.Path[:1], Header: true, Line: e.Line})
	default:
		l.add(l.at(e).fault(key, "", "there is no such key"+l.suggest(key)))
	}
}

// suggest returns the key that was probably meant: a similar one in the same section, or the same word in
// another.
func (l *loader) suggest(key string) string {
	section, word := document.SplitKey(key)
	var here, elsewhere []string
	for _, f := range fields(l.cfg, "") {
		s, w := document.SplitKey(f.key)
		switch {
		case s == section:
			here = append(here, w)
		case w == word:
			elsewhere = append(elsewhere, f.key)
		}
	}
	if near := wording.Nearest(word, here); near != "" {
		return wording.Hint(near, "%s")
	}
	if len(elsewhere) == 0 {
		return ""
	}
	return wording.Hint(wording.Either(elsewhere), "%s")
}

func (l *loader) isSection(name string) bool { return slices.Contains(l.sectionNames(), name) }

func (l *loader) sectionNames() []string {
	var names []string
	for _, f := range fields(l.cfg, "") {
		if section, _ := document.SplitKey(f.key); section != "" && !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	return append(names, document.Computations)
}

// resolvePaths resolves relative paths against the file's directory.
func (l *loader) resolvePaths() {
	for _, f := range fields(l.cfg, "") {
		p, ok := f.ptr.(*string)
		if !ok || *p == "" {
			continue
		}
		switch path, isUnix := strings.CutPrefix(*p, valid.UnixPrefix); {
		case f.tag.Get("path") == "file":
			*p = l.resolve(*p)
		case f.tag.Get("path") == "socket" && isUnix && path != "":
			*p = valid.UnixPrefix + l.resolve(path)
		}
	}
}

func (l *loader) resolve(path string) string {
	if l.folder == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.folder, path)
}

// add reports a value that could not be read.
func (l *loader) add(f Fault) {
	l.faulty[f.Key] = true
	l.faults.All = append(l.faults.All, f)
}

// refuse reports a value that was read but is not allowed. A key gets at most one such fault, and none if its
// value could not be read: the stored value is then not the one in the file.
func (l *loader) refuse(f field, problem string) {
	if l.faulty[f.key] {
		return
	}
	shown := f.show()
	if f.isSecret() {
		shown = ""
	}
	l.add(l.cfg.origins[f.key].fault(f.key, wording.Shorten(shown), problem))
}

// refuseKey is refuse for a key outside [[computation]].
func (l *loader) refuseKey(key, format string, args ...any) {
	l.refuse(l.known[key], fmt.Sprintf(format, args...))
}

// notePermissions warns of secrets in a world-readable configuration file.
func (l *loader) notePermissions() {
	if l.mode&worldReadable == 0 {
		return
	}
	for _, f := range fields(l.cfg, "") {
		secret, ok := f.ptr.(*Secret)
		if ok && len(*secret) > 0 && l.cfg.origins[f.key].kind == fromFile {
			l.cfg.notes = append(l.cfg.notes, fmt.Sprintf(
				"%s holds %s and is readable by everyone on this machine: type chmod o-r %s", l.cfg.Path, f.key, domain.ShellWord(l.cfg.Path)))
			return
		}
	}
}
