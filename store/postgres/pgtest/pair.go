package pgtest

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Pair is a primary and its synchronous standby, of one test.
type Pair struct{ Primary, Standby *Server }

// NewPair starts a primary and a standby that confirms every commit, with settings of postgresql.conf for both. They end
// with t.
func NewPair(t testing.TB, settings ...string) *Pair {
	t.Helper()
	need(t)
	primary, err := start(append([]string{"synchronous_standby_names = '*'"}, settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { primary.keeper.Close() })
	standby, err := newServer()
	if err == nil {
		err = standby.run("pg_basebackup", "-D", standby.data(), "-h", primary.dir, "-U", "postgres", "-R", "--no-sync", "-c", "fast")
	}
	if err == nil {
		err = standby.configure(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.keeper.Close() })
	return &Pair{Primary: primary, Standby: standby}
}

// URL returns the address of the database postgres on the one of the pair that takes writes.
func (p *Pair) URL() string {
	return "postgres://postgres@/postgres?host=" + url.QueryEscape(p.Primary.dir+","+p.Standby.dir)
}

// URL returns the address of the database postgres of this server alone.
func (s *Server) URL() string { return s.url("postgres") }

// Kill ends a server as the loss of its host does: no process of it does anything more.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	line, _, _ := strings.Cut(string(file), "\n")
	postmaster, _ := strconv.Atoi(line)
	if err != nil || postmaster < 2 {
		t.Fatalf("the server is not known to run: %v, %q", err, line)
	}
	_ = syscall.Kill(postmaster, syscall.SIGSTOP) // it starts nothing more
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", postmaster))
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range strings.Fields(string(children)) {
		if pid, _ := strconv.Atoi(child); pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = syscall.Kill(postmaster, syscall.SIGKILL)
	for wait := 0; wait < 500 && syscall.Kill(postmaster, 0) == nil; wait++ {
		time.Sleep(10 * time.Millisecond)
	}
	os.Remove(filepath.Join(s.data(), "postmaster.pid"))
}

// Stop ends a server as an operator does: commits under way are finished, clients are sent away.
func (s *Server) Stop(t testing.TB) { s.control(t, "stop", "-m", "fast") }

// Start starts a server that was stopped or killed.
func (s *Server) Start(t testing.TB) { s.control(t, "start", "-l", filepath.Join(s.dir, "log")) }

// Promote makes a standby a primary, which confirms commits by itself.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.control(t, "promote")
	s.SQL(t, "alter system set synchronous_standby_names = ''")
	s.SQL(t, "select pg_reload_conf()")
}

func (s *Server) control(t testing.TB, args ...string) {
	t.Helper()
	if err := s.run("pg_ctl", append([]string{"-D", s.data(), "-w"}, args...)...); err != nil {
		t.Fatal(err)
	}
}
