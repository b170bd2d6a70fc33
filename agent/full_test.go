package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/agent/condition"
)

type brokenListener struct {
	net.Listener
	err error
}

func (b brokenListener) Accept() (net.Conn, error) { return nil, b.err }

// smallDisk mounts a file system of its own on the site's data directory.
func (s *site) smallDisk(options string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		s.t.Skipf("NOT TESTED: a full disk takes the right to mount a small one: %v", err)
	}
	s.t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			s.t.Error(err)
		}
	})
	return dir
}

// fill leaves no room in dir until it is undone.
func fill(t *testing.T, dir string) (undo func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDiskDoesNotStopTheStart: the rules cannot be written, so no event is accepted; once there
// is room the agent goes on by itself.
func TestFullDiskDoesNotStopTheStart(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	dir := s.smallDisk("size=8m")
	door := filepath.Join(s.dir, "in")
	s.start(s.load("PERSONASYNC_INGEST_LISTEN=unix:"+door), RunOptions{}).stop()

	makeRoom := fill(t, dir)
	c := s.load("PERSONASYNC_INGEST_LISTEN=unix:"+door,
		"PERSONASYNC_DEFAULTS_FORWARD_TRAITS="+strings.Repeat("t,", 100_000)+"t") // more than the files have room for inside
	ctx, cancel := context.WithCancel(t.Context())
	a := &started{t: t, end: cancel, ended: make(chan error, 1), Addresses: Addresses{Ingest: &net.UnixAddr{Name: "door"}}}
	go func() { a.ended <- Run(ctx, c, RunOptions{Log: quiet(), Version: "1.0"}) }()
	defer a.stop()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(door); err == nil {
			break
		}
		select {
		case err := <-a.ended:
			a.end = nil
			t.Fatalf("a full disk stopped the start: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("it did not start")
		}
	}
	i, running := open(t, c)
	if !running {
		t.Fatal("it does not answer")
	}
	eventually(t, i, "it says why it is not ready", func(s condition.Status) bool { return !s.Ready && strings.Contains(s.Unready, "disk is full") })

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", door)
	}}}
	if code := a.post(client, "http", news("ann", true, time.Now())); code != http.StatusServiceUnavailable {
		t.Errorf("a delivery was answered %d", code)
	}
	makeRoom()
	eventually(t, i, "it is ready", func(s condition.Status) bool { return s.Ready })
	if code := a.post(client, "http", news("ann", true, time.Now())); code != http.StatusOK {
		t.Errorf("with room again a delivery was answered %d", code)
	}
}

// TestADiskThatFillsUpIsSaidAndRecoveredFrom runs an agent on a disk that fills up: deliveries are told
// to come again, and so are probes of readiness.
func TestADiskThatFillsUpIsSaidAndRecoveredFrom(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	disk := s.smallDisk("size=24m")
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "ann is delivered", func(st condition.Status) bool { return st.Delivered == 1 })
	makeRoom := fill(t, disk)
	eventually(t, i, "no room is noticed", func(st condition.Status) bool { return !st.Ready })
	if code, why := a.readyz(); code != http.StatusServiceUnavailable || !strings.Contains(why, "the disk is full") {
		t.Errorf("readyz: %d %s", code, why)
	}
	if code := a.post(http.DefaultClient, "http", news("bob", true, time.Now())); code != http.StatusServiceUnavailable {
		t.Errorf("a delivery to a full disk was answered %d", code)
	}
	makeRoom()
	eventually(t, i, "there is room again", func(st condition.Status) bool { return st.Ready })
	a.tell(news("cid", true, time.Now()))
	eventually(t, i, "cid is delivered", func(st condition.Status) bool { return st.Delivered == 2 })
}

func (a *started) readyz() (code int, body string) {
	a.t.Helper()
	resp, err := http.Get("http://" + a.Admin.String() + "/readyz")
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode, string(text)
}
