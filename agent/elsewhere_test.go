package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"personasync/agent/internal/place"
)

// TestADataFolderThatWasMovedIsNotCalledANewOne: while the agent answered 503 because its folder was moved,
// `status` said that no agent had run there, the doctor was green and said to start one, and that one made an
// empty folder where the other's was to come back. The way to `db backup` was not said.
func TestADataFolderThatWasMovedIsNotCalledANewOne(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	data := filepath.Join(s.dir, "data")
	socket := "PERSONASYNC_ADMIN_SOCKET=" + filepath.Join(data, "s")
	a := s.start(s.load(socket), RunOptions{})
	c := s.load(socket, "PERSONASYNC_ADMIN_LISTEN="+a.Admin.String())
	moved := data + "-moved"
	if err := os.Rename(data, moved); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an agent that noticed", func() bool { return place.MovedFrom(t.Context(), c) != nil })
	for what, ask := range map[string]func() error{
		"an inspection": func() error { _, _, _, err := Open(t.Context(), c, "1.0"); return err },
		"an order":      func() error { _, err := DialAgent(t.Context(), c, "1.0"); return err },
		"a change":      func() error { _, _, _, err := OpenData(t.Context(), c, "1.0"); return err },
		"a restore": func() error { // which put an older state where the open files were to come back
			_, err := Restore(t.Context(), c, filepath.Join(s.dir, "backup.tar"), "1.0", nil)
			return err
		},
		"a second run": func() error { return Run(t.Context(), c, RunOptions{Log: slog.New(slog.DiscardHandler)}) },
	} {
		err := ask()
		if !errors.Is(err, place.ErrElsewhere) || !strings.Contains(err.Error(), "`install -d -m 700 -o ") || !strings.Contains(err.Error(), "personasync db backup FILE") {
			t.Errorf("%s ended with %v", what, err)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the second run made a folder of its own")
	}
	if found := Diagnose(context.Background(), c, nil, "1.0"); Healthy(found) || strings.Contains(saidBy(found, "agent", "fail"), "never run") {
		t.Errorf("the doctor found %+v", found)
	}
	if err := os.Rename(moved, data); err != nil {
		t.Fatal(err)
	}
}
