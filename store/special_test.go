package store

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/repair"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/wal"
)

// withoutHanging returns what do returns. If it waits for the other end of the pipe at path, it fails the test.
func withoutHanging(t *testing.T, path string, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
	}
	t.Errorf("it waits for the other end of %s", filepath.Base(path))
	for {
		end, err := os.OpenFile(path, os.O_RDWR, 0) // lets it go on
		must(t, err)
		select {
		case err := <-done:
			end.Close()
			return err
		case <-time.After(10 * time.Millisecond):
			end.Close()
		}
	}
}

// TestAPipeInThePlaceOfAFileIsRefused: the start, and every command that reads the files, waited for its other end
// without a word, and SIGTERM did not end them.
func TestAPipeInThePlaceOfAFileIsRefused(t *testing.T) {
	onFiles(t)
	for _, name := range []string{datadir.LockFile, datadir.RunFile, datadir.StateFile, filepath.Base(wal.Path("", 1)), filepath.Base(wal.Path("", 2))} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			b.receive(event("ann", "vip", true, 1))
			must(t, b.Store.Close())
			path := filepath.Join(b.dir, name)
			must(t, errors.Join(os.RemoveAll(path), syscall.Mkfifo(path, 0o600)))
			refused := map[string]func() error{"Open": func() error {
				s, err := Open(b.dir, Options{Log: query.Discard})
				if err == nil {
					err = s.Close()
				}
				return err
			}}
			if name == datadir.StateFile {
				refused["OpenReadOnly"] = func() error { return onlyErr(OpenReadOnly(b.dir)) }
				refused["Check"] = func() error { return onlyErr(repair.Check(t.Context(), b.dir, nil)) }
			}
			for what, do := range refused {
				err := withoutHanging(t, path, do)
				if strings.HasPrefix(name, "inbox-") { // is listed among what is left alone
					must(t, err)
				} else if !errors.Is(err, datadir.ErrForeign) || !strings.Contains(err.Error(), name) {
					t.Errorf("%s: %v", what, err)
				}
			}
			must(t, withoutHanging(t, path, func() error { datadir.Holder(b.dir); return nil }))
			if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeNamedPipe {
				t.Errorf("it was replaced: %v, %v", info, err)
			}
		})
	}
}

// TestABackupIntoAPipeIsRefused: it waited for the other end, or read the terminal, to see if that is a backup.
func TestABackupIntoAPipeIsRefused(t *testing.T) {
	onFiles(t)
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, "/dev/null", filepath.Dir(pipe)} {
		err := withoutHanging(t, pipe, func() error {
			return snapshot.CreateBackup(t.TempDir(), path, func(io.Writer) error { t.Error("it is written"); return nil })
		})
		if !errors.Is(err, snapshot.ErrNotAFile) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if info, err := os.Lstat("/dev/null"); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Errorf("/dev/null is %v, %v", info, err)
	}
}
