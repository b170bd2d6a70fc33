package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/internal/valid"
	"personasync/agent/config/wording"
)

// Load reads the file at path, or none if path is "", and applies environ, which has the form of os.Environ. It
// returns all mistakes at once as *Faults. Any other error means that the file could not be read. No error is
// temporary.
func Load(path string, environ []string) (*Config, error) {
	return load(path, environ, false)
}

// LoadWithoutSecrets is Load for a process that does not need secrets and may not be allowed to read them, such
// as a command that looks for the agent's socket. It opens no secret file, key or credential but that of store.url, which
// stays unset if it cannot be read.
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

// loader is the state of one Load.
type loader struct {
	report
	folder string // start of relative paths; "" leaves them relative
	mode   fs.FileMode
	env    environment

	sections [][]document.Entry // entries of each [[computation]]
	reported map[string]bool    // sections refused as a whole
}

// newLoader returns a loader that holds the defaults. blind opens no secret.
func newLoader(path string, environ []string, blind bool) *loader {
	cfg := Default()
	cfg.Path, cfg.blind = path, blind
	cfg.origins = map[string]origin{}
	l := &loader{report: newReport(cfg), env: parseEnvironment(environ), reported: map[string]bool{}}
	if path != "" {
		l.folder = filepath.Dir(path)
		if absolute, err := filepath.Abs(l.folder); err == nil {
			l.folder = absolute
		}
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
	if err := l.err(); err != nil {
		return nil, err
	}
	notePermissions(l.cfg, l.mode)
	return l.cfg, nil
}

// lay applies entries and the environment, and collects faults.
func (l *loader) lay(entries []document.Entry) {
	for _, e := range entries {
		l.take(e)
	}
	takeEnvironment(&l.report, l.env)
	l.resolvePaths()
	takeSecrets(&l.report, l.env)
	takeSections(&l.report, l.sections) // after the environment, because they inherit its [defaults]
	l.takeUserLists()
	check(&l.report)
}

// take applies one entry. Entries of a [[computation]] are collected for later.
func (l *loader) take(e document.Entry) {
	key := e.Key()
	switch f, known := l.known[key]; {
	case takeHeader(&l.report, e):
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

// checkHeader refuses a wrong section header once, and silences the faults of the keys below it.
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
		problem = "there is no such section" + wording.Hint(wording.Nearest(key, append(l.sectionNames(), keyHeaders)), "[%s]")
	case e.Array:
		problem = fmt.Sprintf("must be written [%s]: there is only one", key)
	default:
		return
	}
	l.reported[key] = true
	l.add(faultAt(l.at(e), "["+key+"]", "", problem))
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

// unknown reports a key that does not exist.
func (l *loader) unknown(e document.Entry) {
	key := e.Key()
	switch {
	case key == document.Computations:
		l.add(faultAt(l.at(e), key, "", "must be written as sections, [[computation]] with its keys below"))
	case l.isSection(key):
		l.add(faultAt(l.at(e), key, "", fmt.Sprintf("is a section: write [%s], and its keys below", key)))
	case len(e.Path) > 1 && !l.isSection(e.Path[0]):
		l.checkHeader(document.Entry{Path: e.Path[:1], Header: true, Line: e.Line})
	default:
		l.add(faultAt(l.at(e), key, "", "there is no such key"+l.suggest(key)))
	}
}

// suggest returns the key that was probably meant: a similar one in the same section, or the same word in
// another.
func (l *loader) suggest(key string) string {
	section, word := document.SplitKey(key)
	var here, elsewhere []string
	for _, f := range field.Of(l.cfg, "") {
		s, w := document.SplitKey(f.Key)
		switch {
		case s == section:
			here = append(here, w)
		case w == word:
			elsewhere = append(elsewhere, f.Key)
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

// sectionNames lists the sections in the order of Config.
func (l *loader) sectionNames() []string {
	var names []string
	for _, f := range field.Of(l.cfg, "") {
		if section, _ := document.SplitKey(f.Key); section != "" && !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	return append(names, document.Computations)
}

// resolvePaths resolves relative paths against the file's directory.
func (l *loader) resolvePaths() {
	for _, f := range field.Of(l.cfg, "") {
		p, ok := f.Ptr.(*string)
		if !ok || *p == "" {
			continue
		}
		switch path, isUnix := strings.CutPrefix(*p, valid.UnixPrefix); {
		case f.Tag.Get("path") == "file":
			*p = l.resolve(*p)
		case f.Tag.Get("path") == "socket" && isUnix && path != "":
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
