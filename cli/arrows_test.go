package cli_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// The arrows between packages are few and point down. A new one is a decision: make it here, with
// the reason why the others are not.
var arrows = map[string][]string{
	"personasync/store":                   {"store/crashpoint", "store/internal/boltpage", "store/internal/wire"},
	"personasync/store/internal/boltpage": {"store/internal/wire"}, // without bbolt: it reads what bbolt would stumble over
	"personasync/store/internal/wire":     {},
	"personasync/store/crashpoint":        {}, // not below store/internal: sync passes three of the points, and the test that kills agents knows them all
	"personasync/scheduler":               {},
	"personasync/sync":                    {"store", "store/crashpoint"},
	"personasync/sync/sandbox":            {}, // knows the wire by MoEngage's documents, so that it checks the sender
	"personasync/agent/segment":           {"store"},
	"personasync/agent/config":            {"store", "scheduler"},
	"personasync/agent/memberlist":        {"store", "sync"},
	"personasync/agent":                   {"agent/config", "agent/segment", "scheduler", "store", "sync"},
	"personasync/cli":                     {"agent", "agent/config", "agent/memberlist", "scheduler", "store", "sync", "sync/sandbox", "packaging/systemd"},
	"personasync/packaging/systemd":       {}, // the units, embedded: the command installs what the packages do
	"personasync/packaging/test/load":     {},
	"personasync/cli/personasync":         {"cli"},
}

// Imports that one package alone may have, or that a package must not have, and why.
var forbidden = []struct{ importer, imported, why string }{
	{"!personasync/store", "go.etcd.io/bbolt", "the store is the only package that knows how things are kept"},
	{"!personasync/scheduler", "github.com/robfig/cron/v3", "its faults are kept behind one door"},
	{"!personasync/cli", "github.com/urfave/cli/v2", "commands are made in one place"},
	{"personasync/store", "net/http", "the store never learns of HTTP"},
	{"personasync/agent/segment", "net/http", "reading an event is pure"},
	{"personasync/agent/segment", "log/slog", "reading an event is pure"},
}

func TestArrowsBetweenPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "personasync/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		checkArrows(t, p.ImportPath, p.Imports)
		if p.ImportPath == "personasync/cli/personasync" {
			checkBinary(t, p.Deps)
		}
	}
}

func checkArrows(t *testing.T, importer string, imports []string) {
	allowed, known := arrows[importer]
	if !known {
		t.Errorf("%s is a package that this test does not know", importer)
		return
	}
	for _, imported := range imports {
		ours, isOurs := strings.CutPrefix(imported, "personasync/")
		if isOurs && !contains(allowed, ours) {
			t.Errorf("%s imports %s: no such arrow in the design", importer, imported)
		}
		for _, f := range forbidden {
			only, exclusive := strings.CutPrefix(f.importer, "!")
			if imported == f.imported && (exclusive && importer != only || !exclusive && importer == f.importer) {
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

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
