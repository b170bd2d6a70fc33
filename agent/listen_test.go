package agent

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSocketIsForOwnerAndGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("the socket's mode is %o, want 660", got)
	}
	if l.Addr().String() != path {
		t.Errorf("it says it listens at %s", l.Addr())
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the closed socket is still there: %v", err)
	}
}

func TestSocketLeftByACrashIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestSocketThatSomebodyAnswersIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := listenSocket(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener got %v", err)
	}
}

func TestSocketPathTooLongSaysSo(t *testing.T) {
	_, err := listenSocket("/tmp/" + strings.Repeat("x", maxSocketPath))
	if err == nil || !contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

func TestListenTakesBothForms(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		l, err := listen(t.Context(), "ingest.listen", address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = l.Close()
	}
}
