package host

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
	l, err := ListenSocket(path)
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
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestSocketThatSomebodyAnswersIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := ListenSocket(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener got %v", err)
	}
}

func TestSocketPathTooLongSaysSo(t *testing.T) {
	_, err := ListenSocket("/" + strings.Repeat("x", 107)) // unix(7): 108 bytes, with a zero byte at the end
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

func TestListenTakesBothForms(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		l, err := Listen(t.Context(), "ingest.listen", address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = l.Close()
	}
}

// TestASocketPathThatNamesNoSocketDestroysNothing: state.db was renamed over, without a word.
func TestASocketPathThatNamesNoSocketDestroysNothing(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	state := write("state.db")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(state, link); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write("beside.new")
	for _, path := range []string{state, link, folder, filepath.Join(dir, "beside"), filepath.Join(dir, "state.db", "sock")} {
		l, err := ListenSocket(path)
		if err == nil {
			_ = l.Close()
			t.Errorf("%s became a socket", path)
			continue
		}
		if strings.HasSuffix(path, "sock") {
			continue
		}
		if !errors.Is(err, ErrSocketPath) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{state, filepath.Join(dir, "beside.new")} {
		if got, err := os.ReadFile(path); string(got) != "precious" {
			t.Errorf("%s holds %q now: %v", path, got, err)
		}
	}
	if to, err := os.Readlink(link); to != state {
		t.Errorf("the link leads to %q: %v", to, err)
	}
}

// TestAListenerRemovesItsOwnSocketOnly: what another process had put there meanwhile went with it.
func TestAListenerRemovesItsOwnSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the socket of the second process is gone: %v", err)
	}
	_ = conn.Close()
}

// TestASocketThatLostItsNameIsMadeAnew: the agent went on listening where nobody could find it.
func TestASocketThatLostItsNameIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error)
	go func() {
		for range 2 {
			conn, err := l.Accept()
			if err == nil {
				err = conn.Close()
			}
			accepted <- err
		}
	}()
	dial := func() {
		t.Helper()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := <-accepted; err != nil {
			t.Error(err)
		}
	}
	dial()
	if renewed, err := l.Renew(); renewed || err != nil {
		t.Errorf("a socket that is in its place was renewed: %v, %v", renewed, err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if renewed, err := l.Renew(); !renewed || err != nil {
		t.Fatalf("renewed: %v, %v", renewed, err)
	}
	dial()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if renewed, err := l.Renew(); renewed || !errors.Is(err, ErrSocketPath) {
		t.Errorf("with a file in its place: %v, %v", renewed, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file in its place went with it: %v", err)
	}
	if _, err := l.Renew(); err != nil {
		t.Errorf("a closed listener: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("a closed listener accepts")
	}
}
