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
	Need(t)
	primary, err := start(append([]string{"synchronous_standby_names = '*'"}, settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { primary.keeper.Close() })
	standby, err := newServer()
	if err == nil {
		err = standby.copyOf(primary)
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

// Socket returns the path of the socket that the server listens at.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL.5432") }

// Kill ends a server as the loss of its host does: no process of it does anything more.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.Freeze(t)
	postmaster := s.signal(t, syscall.SIGKILL)
	for wait := 0; wait < 500 && syscall.Kill(postmaster, 0) == nil; wait++ {
		time.Sleep(10 * time.Millisecond)
	}
	os.Remove(filepath.Join(s.data(), "postmaster.pid"))
}

// Freeze stops a server as a host that stands still does: its connections stay, and nothing answers.
func (s *Server) Freeze(t testing.TB) { t.Helper(); s.signal(t, syscall.SIGSTOP) }

// Thaw has a frozen server go on.
func (s *Server) Thaw(t testing.TB) { t.Helper(); s.signal(t, syscall.SIGCONT) }

// signal sends a signal to all processes of a server, and last to the one that starts the others, whose id it returns.
func (s *Server) signal(t testing.TB, sig syscall.Signal) (postmaster int) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	line, _, _ := strings.Cut(string(file), "\n")
	postmaster, _ = strconv.Atoi(line)
	if err != nil || postmaster < 2 {
		t.Fatalf("the server is not known to run: %v, %q", err, line)
	}
	if sig == syscall.SIGSTOP {
		_ = syscall.Kill(postmaster, sig) // it starts nothing more
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", postmaster))
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range append(strings.Fields(string(children)), line) {
		if pid, _ := strconv.Atoi(process); pid > 1 {
			_ = syscall.Kill(pid, sig)
		}
	}
	return postmaster
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

// Return makes the primary that was killed a standby of the one that was promoted, from a new copy, and waits until it has
// all that was committed. The two change places in p.
func (p *Pair) Return(t testing.TB) {
	t.Helper()
	p.Primary, p.Standby = p.Standby, p.Primary
	err := os.RemoveAll(p.Standby.data())
	if err == nil {
		err = p.Standby.copyOf(p.Primary)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Primary.SQL(t, "alter system set synchronous_standby_names = '*'")
	p.Primary.SQL(t, "select pg_reload_conf()")
	last := p.Primary.SQL(t, "select pg_current_wal_flush_lsn()")
	for wait := 0; p.Primary.SQL(t, "select count(*) from pg_stat_replication where sync_state = 'sync' and flush_lsn >= '"+last+"'") != "1"; wait++ {
		if wait == 1000 {
			t.Fatal("the standby does not follow")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// copyOf makes s a standby of primary, and starts it.
func (s *Server) copyOf(primary *Server) error {
	if err := s.run("pg_basebackup", "-D", s.data(), "-h", primary.dir, "-U", "postgres", "-R", "--no-sync", "-c", "fast"); err != nil {
		return err
	}
	return s.configure(nil)
}

func (s *Server) control(t testing.TB, args ...string) {
	t.Helper()
	if err := s.run("pg_ctl", append([]string{"-D", s.data(), "-w"}, args...)...); err != nil {
		t.Fatal(err)
	}
}
