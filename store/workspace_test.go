package store

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/postgres/pgtest"
)

// TestAnAgentOfAnotherWorkspaceNeverWrites: it is a door of a store that was sent elsewhere, also when nobody writes, and says why. An
// agent that says in whose place its workspace comes takes over, and then the one of before is a door.
func TestAnAgentOfAnotherWorkspaceNeverWrites(t *testing.T) {
	onFiles(t)
	url := pgtest.URL(t)
	agent := func(workspace, replaces string) *Shared {
		c := database(url)
		c.Replicated, c.Workspace = "no", domain.Workspace{ID: workspace, Replaces: replaces}
		h, err := Connect(t.Context(), c)
		must(t, err)
		t.Cleanup(h.Close)
		return h
	}
	var log bytes.Buffer
	open := func(h *Shared) *Store {
		t.Helper()
		s, err := h.Open(t.Context(), t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		return s
	}
	sentTo := func(h *Shared, want string) {
		t.Helper()
		if got, err := h.db.SentTo(t.Context()); err != nil || got != want {
			t.Errorf("the store is sent to %q (%v), want %q", got, err, want)
		}
	}
	old := agent("OLD", "")
	none := open(agent("", "")) // such as a version that did not note it
	must(t, none.Close())
	sentTo(old, "")
	must(t, open(old).Close())
	sentTo(old, "OLD")

	other := agent("NEW", "OLDER")
	door := open(other)
	if door.Role().Writer {
		t.Fatal("an agent of another workspace became the writer")
	}
	must(t, door.Append(t.Context(), event("ann", "vip", true, 1)))
	var h DatabaseHealth
	for deadline := time.Now().Add(10 * time.Second); h.NoTerm == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var err error
		h, err = door.Database(t.Context())
		must(t, err)
	}
	for what, said := range map[string]string{"no term": h.NoTerm, "elsewhere": h.Elsewhere} {
		for _, part := range []string{"sent to OLD", "would send it to NEW", `replaces_workspace_id = "OLD"`} {
			if !strings.Contains(said, part) {
				t.Errorf("%s: %q does not say %q", what, said, part)
			}
		}
	}
	must(t, door.Close())
	if _, err := other.OpenToMove(t.Context(), t.TempDir(), Options{}); !errors.Is(err, domain.ErrOtherWorkspace) {
		t.Errorf("a move by an agent of another workspace: %v", err)
	}

	moved := open(agent("NEW", "OLD"))
	if !moved.Role().Writer || !strings.Contains(log.String(), "workspace=NEW before=OLD") {
		t.Errorf("an agent that replaces the workspace: %+v, log %s", moved.Role(), &log)
	}
	must(t, moved.Applied(t.Context()))
	must(t, moved.Close())
	sentTo(old, "NEW")
	left := open(old)
	defer left.Close()
	if left.Role().Writer {
		t.Error("the agent of the workspace of before became the writer")
	}
}

// TestFilesKnowWhichWorkspaceWasTold: a new one would never be told of what the store knows to be sent. One that was told nothing is
// none. A move keeps it.
func TestFilesKnowWhichWorkspaceWasTold(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	sendTo := func(want error, id, replaces string) {
		t.Helper()
		if before, err := b.SendTo(t.Context(), domain.Workspace{ID: id, Replaces: replaces}); !errors.Is(err, want) || (before != "") != (id == "NEW" && replaces == "OLD") {
			t.Errorf("to %s in place of %q: %v, before %q", id, replaces, err, before)
		}
	}
	sentTo := func(want string) {
		t.Helper()
		if got, err := b.SentTo(); err != nil || got != want {
			t.Errorf("sent to %q (%v), want %q", got, err, want)
		}
	}
	sendTo(nil, "TYPO", "")
	sendTo(nil, "OLD", "")
	sentTo("")
	b.receive(event("ann", "m1", true, 1))
	b.drain()
	sentTo("OLD")
	sendTo(nil, "", "")
	sendTo(domain.ErrOtherWorkspace, "NEW", "")
	sendTo(domain.ErrOtherWorkspace, "NEW", "TYPO")
	sentTo("OLD")
	must(t, b.Store.Close())
	b.Store = nil

	to := filepath.Join(t.TempDir(), "new")
	_, err := moveDir(t, b.dir, to)
	must(t, err)
	b.dir = to
	b.reopen(rules(domain.SendAttribute))
	sendTo(domain.ErrOtherWorkspace, "NEW", "")
	sendTo(nil, "NEW", "OLD")
	sendTo(nil, "NEW", "")
	sentTo("NEW")
}
