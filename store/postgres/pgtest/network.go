package pgtest

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// NewServer starts a server of one test, which listens on the loopback address as well. access is its pg_hba.conf behind a
// line for [Server.SQL]; files go to its data directory, where relative names of settings lead. It ends with t.
func NewServer(t testing.TB, access string, files map[string][]byte, settings ...string) *Server {
	t.Helper()
	Need(t)
	s, err := newServer()
	if err == nil {
		t.Cleanup(func() { s.keeper.Close() })
		err = s.initialize()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.port = freePort(t)
	for name, content := range files {
		s.Write(t, name, content)
	}
	s.Write(t, "pg_hba.conf", []byte("local all postgres trust\n"+access))
	if err := s.configure(append(settings, "listen_addresses = '127.0.0.1'", "port = "+strconv.Itoa(s.port))); err != nil {
		t.Fatal(err)
	}
	return s
}

// Address returns host and port of a server of [NewServer].
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Write puts a file into the data directory, which only the server's user can read.
func (s *Server) Write(t testing.TB, name string, content []byte) {
	t.Helper()
	path := filepath.Join(s.data(), name)
	err := os.WriteFile(path, content, 0o600)
	if who := ordinary(); err == nil && who != nil {
		err = os.Chown(path, int(who.Uid), int(who.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Reload has a server read its settings and certificates again, and waits until it has.
func (s *Server) Reload(t testing.TB) {
	t.Helper()
	before := s.SQL(t, "select pg_conf_load_time()")
	s.control(t, "reload")
	for s.SQL(t, "select pg_conf_load_time()") == before {
	}
}

// freePort finds a port that nothing listens at.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
