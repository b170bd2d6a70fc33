package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
)

var quiet = slog.New(slog.DiscardHandler)

// inFormat is a new file that says to be of a format.
func inFormat(t *testing.T, format uint32) (*State, string) {
	t.Helper()
	s, path := newFile(t)
	must(t, s.Update(func(tx engine.Tx) error {
		return tx.Bucket(boltfile.BucketMeta).Put(boltfile.MetaFormat, binary.BigEndian.AppendUint32(nil, format))
	}))
	return s, path
}

// writing is a step of a migration that adds to a value.
func writing(letter string) Migration {
	return func(tx engine.Tx) error {
		rows := tx.Bucket([]byte("rows"))
		return rows.Put([]byte("steps"), append(bytes.Clone(rows.Get([]byte("steps"))), letter...))
	}
}

// TestAMigrationTakesTheStepsThatAreMissing, and no other, and names the copy of what was before.
func TestAMigrationTakesTheStepsThatAreMissing(t *testing.T) {
	steps := []Migration{writing("2"), writing("3"), writing("4")}
	for format, want := range map[uint32]string{1: "234", 2: "34", 3: "4", 4: "", 5: ""} {
		s, path := inFormat(t, format)
		var log bytes.Buffer
		must(t, s.Migrate(steps, slog.New(slog.NewTextHandler(&log, nil))))
		now, err := s.Format()
		if steps := get(t, s, "steps"); err != nil || steps != want || now != max(format, 4) {
			t.Errorf("from format %d it takes %q to %d, %v", format, steps, now, err)
		}
		backup := filepath.Join(filepath.Dir(path), "before-format-4.db")
		if _, err := os.Stat(backup); (err == nil) != (want != "") || strings.Contains(log.String(), backup) != (want != "") {
			t.Errorf("from format %d: the copy: %v, logged %s", format, err, log.String())
		}
		if want == "" {
			continue
		}
		old, err := Open(backup, 0, true)
		must(t, err)
		if was, err := old.Format(); err != nil || was != format || get(t, old, "steps") != "" || get(t, old, "first") != "1" {
			t.Errorf("the copy of format %d has format %d, %v", format, was, err)
		}
		must(t, old.Close())
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.new")); left != nil {
			t.Errorf("it left %v", left)
		}
	}
}

// TestAMigrationThatFailsLeavesTheStateAsItWas, and says at which step.
func TestAMigrationThatFailsLeavesTheStateAsItWas(t *testing.T) {
	broken := errors.New("broken")
	failing := []Migration{writing("2"), func(engine.Tx) error { return broken }}
	s, _ := inFormat(t, 1)
	if err := s.Migrate(failing, quiet); !errors.Is(err, broken) || !strings.Contains(err.Error(), "to format 3") || get(t, s, "steps") != "" {
		t.Errorf("%v, steps %q", err, get(t, s, "steps"))
	}
	s, path := inFormat(t, 1)
	must(t, os.MkdirAll(filepath.Join(filepath.Dir(path), "before-format-2.db", "in-the-way"), 0o700))
	if err := s.Migrate([]Migration{writing("2")}, quiet); err == nil || get(t, s, "steps") != "" {
		t.Errorf("without a copy: %v, steps %q", err, get(t, s, "steps"))
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.new")); left != nil {
		t.Errorf("it left %v", left)
	}
	s, path = inFormat(t, 1)
	must(t, os.MkdirAll(filepath.Join(filepath.Dir(path), "before-format-2.db.new"), 0o700))
	if err := s.Migrate([]Migration{writing("2")}, quiet); err == nil || get(t, s, "steps") != "" {
		t.Errorf("where the copy cannot be written: %v, steps %q", err, get(t, s, "steps"))
	}
	must(t, os.Remove(path)) // behind the agent's back
	if err := s.Migrate([]Migration{writing("2")}, quiet); !errors.Is(err, os.ErrNotExist) || get(t, s, "steps") != "" {
		t.Errorf("a file whose size cannot be read: %v, steps %q", err, get(t, s, "steps"))
	}
}

// TestAFileWithoutAFormatIsNotMigrated: it is not ours, or no program ever wrote it.
func TestAFileWithoutAFormatIsNotMigrated(t *testing.T) {
	s, _ := inFormat(t, 0)
	if err := s.Migrate([]Migration{writing("2")}, quiet); err == nil || !strings.Contains(err.Error(), "format 0") {
		t.Errorf("format 0: %v", err)
	}
	for what, spoil := range map[string]func(engine.Bucket) error{
		"none":    func(b engine.Bucket) error { return b.Delete(boltfile.MetaFormat) },
		"shorter": func(b engine.Bucket) error { return b.Put(boltfile.MetaFormat, []byte{1}) },
	} {
		must(t, s.Update(func(tx engine.Tx) error { return spoil(tx.Bucket(boltfile.BucketMeta)) }))
		if err := s.Migrate([]Migration{writing("2")}, quiet); !errors.Is(err, boltfile.ErrForeign) || get(t, s, "steps") != "" {
			t.Errorf("%s: %v", what, err)
		}
		if err := s.CheckMigrated(); !errors.Is(err, boltfile.ErrForeign) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestOnlyAStartMigrates: a command that reads an older state says what does.
func TestOnlyAStartMigrates(t *testing.T) {
	for format, older := range map[uint32]bool{datadir.Format - 1: true, datadir.Format: false, datadir.Format + 1: false} {
		s, _ := inFormat(t, format)
		err := s.CheckMigrated()
		if errors.Is(err, errOlder) != older || (err != nil) != older || older && !strings.Contains(err.Error(), fmt.Sprintf("in format %d: start the agent once, which brings it to format %d", format, datadir.Format)) {
			t.Errorf("format %d: %v", format, err)
		}
	}
}
