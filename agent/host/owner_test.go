package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDeniedErrorNamesWhoToBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "admin.sock")
	err := Denied("the agent's socket", path, fs.ErrPermission)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "sudo -u ") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestGroupIsNamedWhereItIsLetIn(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(socket, nil, 0o660); err != nil {
		t.Fatal(err)
	}
	if who := WhoMay(socket); !strings.Contains(who, "or in the group") {
		t.Errorf("a socket for its group: %s", who)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	if who := WhoMay(socket); strings.Contains(who, "group") {
		t.Errorf("a socket for its owner alone: %s", who)
	}
}
