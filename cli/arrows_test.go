package cli_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowedArrows lists which of our packages each of our packages may import. No package imports one that stands above
// it on the way of an event. To allow another import, add it here, and give the reason in the commit. A line holds the
// importer, a colon, the packages that it may import, and after # a remark.
const allowedArrows = `
store/engine/bolt: store/crashpoint store/domain store/engine store/internal/boltfile store/internal/datadir
store/engine:
store/engine/overlay: store/engine
store/internal/writer: store/crashpoint store/domain store/internal/apply store/internal/datadir store/internal/outbox store/internal/record store/internal/refusal store/internal/state store/internal/wal store/internal/wire store/engine store/engine/bolt
store/internal/move: store/engine store/internal/boltfile store/internal/state store/internal/wire
store/internal/orders: store/domain store/internal/apply store/internal/datadir store/internal/outbox store/internal/query store/internal/record store/internal/refusal store/internal/state store/internal/writer store/engine
store/internal/recovery: store/internal/boltfile store/internal/boltpage store/internal/datadir store/internal/record store/internal/repair store/internal/state store/internal/wal store/internal/wire store/engine store/engine/bolt
store/internal/turn:
store/internal/refusal: store/domain store/internal/record store/internal/state store/internal/wire store/engine
store/internal/dirtest: store/domain store/internal/apply store/internal/boltpage store/internal/datadir store/internal/record store/internal/state store/internal/statetest store/internal/wal store/engine store/engine/bolt   # for tests of the packages that work on files, and in no program
store/internal/statetest: store/domain store/internal/record store/internal/state store/engine store/engine/bolt   # for tests of the packages above the state, and in no program
store/internal/trial: store/domain store/internal/apply store/internal/outbox store/internal/record store/internal/state store/engine store/engine/overlay   # writes to no file
store/internal/state: store/domain store/internal/record store/internal/turn store/internal/wire store/engine
store/internal/snapshot: store/crashpoint store/internal/boltfile store/internal/datadir store/internal/groupcommit store/internal/query store/internal/state store/internal/wal store/internal/wire store/engine store/engine/bolt
store/internal/repair: store/domain store/internal/apply store/internal/boltfile store/internal/boltpage store/internal/datadir store/internal/outbox store/internal/query store/internal/record store/internal/refusal store/internal/state store/internal/wal store/internal/wire store/engine store/engine/bolt
store/internal/record: store/domain store/internal/wal store/internal/wire
store/internal/query: store/domain store/internal/apply store/internal/outbox store/internal/record store/internal/refusal store/internal/state store/internal/wire store/engine
store/internal/outbox: store/domain store/internal/record store/internal/state store/internal/turn store/internal/wire
store/internal/datadir: store/domain store/internal/boltfile store/internal/wal store/internal/wire
store/internal/apply: store/domain store/internal/outbox store/internal/record store/internal/state store/internal/wire store/engine
store/domain:
store: store/crashpoint store/internal/boltfile store/internal/recovery store/internal/wal store/internal/wire store/domain store/internal/apply store/internal/datadir store/internal/move store/internal/outbox store/internal/query store/internal/record store/internal/refusal store/internal/repair store/internal/snapshot store/internal/state store/internal/writer store/internal/orders store/internal/trial store/engine store/engine/bolt store/postgres
store/internal/boltfile: store/crashpoint store/domain store/internal/wire store/engine
store/internal/boltpage: store/internal/wire   # without bbolt: it reads what bbolt would stumble over
store/internal/wal: store/crashpoint store/internal/boltfile store/internal/boltpage store/internal/groupcommit store/internal/wire store/domain store/engine
store/internal/groupcommit: store/domain store/engine   # knows nothing of where records are kept
store/internal/wire:
store/postgres: store/domain store/engine store/engine/overlay store/internal/groupcommit store/internal/record store/internal/wire store/postgres/internal/roundtrip
store/postgres/internal/roundtrip: store/domain
store/postgres/pgtest:   # for tests of the packages that need a server, and in no program
store/testdir:   # for tests of every package, and in no program
store/crashpoint:   # not below store/internal: sync passes three of the points, and the test that kills agents knows them all
scheduler:
sync: store/crashpoint store/domain sync/internal/payload sync/internal/ratelimit
sync/internal/payload: store/domain   # pure: bytes out of changes
sync/internal/ratelimit: store/domain
sync/sandbox: sync/sandbox/internal/rawjson   # knows the wire by MoEngage's documents, so that it checks the sender
sync/sandbox/internal/rawjson:
agent/segment: store/domain
agent/config: agent/config/internal/document agent/config/internal/field agent/config/internal/valid agent/config/wording agent/memberlist store/domain   # only_users_file is a list like the one of an import
agent/config/internal/document: agent/config/wording   # knows TOML, and no key
agent/config/internal/field: agent/config/internal/document agent/config/wording store/domain   # a value and its tags: knows no section
agent/config/internal/valid: agent/config/wording scheduler store/domain   # pure: a value in, the reason why not out
agent/config/wording:
agent/memberlist: sync store/domain
agent/host: agent/config   # of the machine: knows neither events nor answers
agent/ingest: agent/segment store/domain   # without the storage engine
agent/condition: agent/config agent/ingest scheduler store store/domain   # pure: what it judges by are values
agent/api: agent/api/internal/socket agent/condition agent/config store sync store/domain   # what crosses the socket: opens no data
agent/internal/place: agent/config agent/host store
agent/internal/waiting: agent/api agent/config agent/host agent/ingest agent/internal/servicemanager agent/metrics store/domain   # opens no store
agent/internal/servicemanager: store   # of the store, only the error that it is closed
agent/api/internal/socket: agent/host store   # knows no question and no order; of the store, only the errors that cross
agent/page: agent/api agent/condition scheduler store sync store/domain
agent/metrics: agent/api agent/condition agent/config agent/ingest scheduler store sync store/domain
agent/verify: agent/api agent/condition scheduler store sync store/domain
agent/backup: agent/condition agent/config scheduler store store/domain
agent/sending: agent/config scheduler sync store/domain
agent/notify: agent/api agent/condition store store/domain
agent/preview: agent/api agent/config agent/ingest agent/segment agent/sending store sync store/domain   # reads by ingest, applies by the store, builds by sync: has no rules
agent/inspect: agent/api agent/condition agent/config agent/preview agent/sending scheduler store sync store/domain
agent: agent/api agent/backup agent/condition agent/config agent/host agent/ingest agent/inspect agent/internal/place agent/internal/servicemanager agent/internal/waiting agent/metrics agent/notify agent/page agent/segment agent/sending agent/verify scheduler store sync store/domain
cli: agent agent/api agent/condition agent/config agent/host agent/memberlist agent/preview cli/internal/argv cli/internal/bundle cli/internal/cases cli/internal/command cli/internal/deletion cli/internal/demo cli/internal/drain cli/internal/exit cli/internal/journal cli/internal/logging cli/internal/pausing cli/internal/secret cli/internal/service cli/internal/term cli/internal/upkeep cli/internal/verification store store/domain sync sync/sandbox
cli/internal/argv: agent/config/wording cli/internal/exit cli/internal/term store/domain   # the names of states are completed
cli/internal/bundle: agent agent/api agent/condition agent/config cli/internal/command cli/internal/exit cli/internal/service cli/internal/term store store/domain
cli/internal/cases: agent/api agent/config agent/preview cli/internal/exit cli/internal/term
cli/internal/command: agent agent/api agent/backup agent/config cli/internal/argv cli/internal/exit cli/internal/term store store/domain
cli/internal/demo: agent agent/api agent/condition agent/config cli/internal/logging cli/internal/term store/domain sync/sandbox
cli/internal/drain: agent/api agent/condition cli/internal/exit cli/internal/pausing cli/internal/term store/domain
cli/internal/exit: agent agent/api agent/config agent/host store
cli/internal/deletion: cli/internal/term store store/domain   # words alone: asks nobody
cli/internal/journal: cli/internal/term store/domain   # words alone: asks nobody
cli/internal/logging: agent/config cli/internal/term
cli/internal/pausing: cli/internal/exit cli/internal/term store store/domain
cli/internal/secret: agent/config cli/internal/command cli/internal/exit cli/internal/service cli/internal/term store/domain
cli/internal/service: agent agent/config cli/internal/command cli/internal/exit cli/internal/term store packaging/systemd
cli/internal/upkeep: agent agent/condition cli/internal/term store store/domain
cli/internal/verification: agent/api agent/condition cli/internal/exit cli/internal/term
cli/internal/term: store/domain   # its ledgers, and how it writes sizes and words of a shell
packaging/systemd:   # the units, embedded: the command installs what the packages do
packaging/test/load:
cli/personasync: cli
`

// arrows parses allowedArrows.
func arrows() map[string][]string {
	list := map[string][]string{}
	for line := range strings.Lines(allowedArrows) {
		line, _, _ = strings.Cut(line, "#")
		if importer, imports, ok := strings.Cut(line, ":"); ok {
			list["personasync/"+importer] = strings.Fields(imports)
		}
	}
	return list
}

// Imports that the named packages alone may have (!), or that a package must not have, and why.
var forbidden = []struct{ importer, imported, why string }{
	{"!personasync/store/engine/bolt personasync/store/internal/boltfile personasync/store/internal/wal", "go.etcd.io/bbolt", "the engine alone knows how things are kept"},
	{"!personasync/store/postgres", "github.com/jackc/pgx/v5", "the engine alone knows how things are kept"},
	{"!personasync/store/postgres personasync/store/postgres/internal/roundtrip personasync/store/postgres/pgtest", "github.com/jackc/pgx/v5/pgconn", "the engine alone knows how things are kept"},
	{"!personasync/store/postgres", "github.com/jackc/pgx/v5/pgxpool", "the engine alone knows how things are kept"},
	{"!personasync/scheduler", "github.com/robfig/cron/v3", "its faults are kept behind one door"},
	{"!personasync/cli personasync/cli/internal/argv personasync/cli/internal/command", "github.com/urfave/cli/v2", "commands are made in one place, of flags in command, and argv arranges their arguments"},
	{"!personasync/agent/config/internal/document", "github.com/pelletier/go-toml/v2", "only the reader of documents knows the TOML library"},
	{"personasync/sync", "personasync/store", "the sender knows the outbox by its interface, and links no storage engine"},
	{"personasync/store", "net/http", "the store never learns of HTTP"},
	{"personasync/agent/segment", "net/http", "reading an event is pure"},
	{"personasync/agent/segment", "log/slog", "reading an event is pure"},
}

func TestArrowsBetweenPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "personasync/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	allowed := arrows()
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		checkArrows(t, allowed, p.ImportPath, p.Imports)
		if p.ImportPath == "personasync/cli/personasync" {
			checkBinary(t, p.Deps)
		}
	}
}

func checkArrows(t *testing.T, allowedOf map[string][]string, importer string, imports []string) {
	allowed, known := allowedOf[importer]
	if !known {
		t.Errorf("%s is a package that this test does not know", importer)
		return
	}
	for _, imported := range imports {
		ours, isOurs := strings.CutPrefix(imported, "personasync/")
		if isOurs && !slices.Contains(allowed, ours) {
			t.Errorf("%s imports %s: no such arrow in the design", importer, imported)
		}
		for _, f := range forbidden {
			only, exclusive := strings.CutPrefix(f.importer, "!")
			if imported == f.imported && (exclusive && !slices.Contains(strings.Fields(only), importer) || !exclusive && importer == f.importer) {
				t.Errorf("%s imports %s: %s", importer, imported, f.why)
			}
		}
	}
}

// checkBinary shows that what only measures is not shipped.
func checkBinary(t *testing.T, deps []string) {
	for _, d := range deps {
		if strings.HasPrefix(d, "personasync/bench") || strings.Contains(d, "sqlite") || d == "testing" {
			t.Errorf("the binary links %s", d)
		}
	}
}
