package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// NeedEnv names the environment variable that has a test fail where it would be skipped for want of PostgreSQL.
const NeedEnv = "PERSONASYNC_NEED_POSTGRES"

// ClusterEnv names the environment variable that has the folder of the cluster of a process that started this one, which
// uses it, too.
const ClusterEnv = "PERSONASYNC_TEST_CLUSTER"

var (
	shared = sync.OnceValues(func() (*Server, error) {
		if dir := os.Getenv(ClusterEnv); dir != "" {
			return &Server{dir: dir}, nil
		}
		return start(cheap...)
	})
	names atomic.Int64
)

// cheap are settings of a cluster that nothing is lost with: its tests do not outlive it.
var cheap = []string{"wal_level = minimal", "max_wal_senders = 0", "autovacuum = off", "checkpoint_timeout = 1d"}

// unused returns a name that no other test uses in the cluster.
func unused(kind string) string { return fmt.Sprint(kind, os.Getpid(), "_", names.Add(1)) }

// Cluster returns what the environment of a child process needs, so that it shares the cluster of this one.
func Cluster(t testing.TB) string {
	t.Helper()
	return ClusterEnv + "=" + running(t).dir
}

// running returns the cluster that the tests of this process share.
func running(t testing.TB) *Server {
	t.Helper()
	Need(t)
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// URL returns the address of a new database, in a cluster that the tests of this process share. It is dropped when t
// ends. Without PostgreSQL on this machine t is skipped. The cluster does not sync its files, and has no standby.
func URL(t testing.TB) string {
	t.Helper()
	s, name := running(t), unused("t")
	s.SQL(t, "create database "+name)
	t.Cleanup(func() { s.SQL(t, "drop database "+name+" with (force)") })
	return s.url(name)
}

// program finds a program of PostgreSQL, of the newest version that is installed.
func program(name string) (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	newest := ""
	for _, path := range found {
		if len(path) > len(newest) || len(path) == len(newest) && path > newest {
			newest = path
		}
	}
	if newest != "" {
		return newest, nil
	}
	return exec.LookPath(name)
}

// Server is one PostgreSQL on this machine, for tests. Its methods may be called concurrently.
type Server struct {
	dir    string   // has the folder data, the socket and the log
	port   int      // of a server of NewServer
	keeper *os.File // its end, by Close or with this process, stops the server and removes dir
}

// keep waits for the end of its input, which is that of the process that started it.
const keep = `trap "" HUP INT TERM; read -r _; "$1" -D "$2/data" stop -m immediate >/dev/null 2>&1; rm -rf "$2"`

// start makes a cluster and starts it. Each setting is a line of postgresql.conf.
func start(settings ...string) (*Server, error) {
	s, err := newServer()
	if err != nil {
		return nil, err
	}
	if err := s.initialize(); err != nil {
		return nil, err
	}
	return s, s.configure(append([]string{"max_connections = 400", "listen_addresses = ''"}, settings...))
}

// initialize makes the files of a cluster.
func (s *Server) initialize() error {
	return s.run("initdb", "-D", s.data(), "--no-sync", "--no-instructions", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C")
}

// newServer makes the folder of a server, and has somebody look after it.
func newServer() (*Server, error) {
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	if who := ordinary(); who != nil {
		if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	control, err := program("pg_ctl")
	if err != nil {
		return nil, err
	}
	end, keeper, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	cmd := s.command("/bin/sh", "-c", keep, "sh", control, dir)
	cmd.Stdin, s.keeper = end, keeper
	return s, cmd.Start()
}

// configure adds settings and starts the server.
func (s *Server) configure(settings []string) error {
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "fsync = off\nfull_page_writes = off\nshared_buffers = 32MB\nwal_retrieve_retry_interval = 100ms\nunix_socket_directories = '%s'\n%s\n", s.dir, strings.Join(settings, "\n"))
	if f.Close(); err != nil {
		return err
	}
	return s.run("pg_ctl", "-D", s.data(), "-w", "-l", filepath.Join(s.dir, "log"), "start")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) run(name string, args ...string) error {
	_, err := s.output(name, args...)
	return err
}

// output runs a program of PostgreSQL. What the server itself prints must not keep the pipe open: it has a log.
func (s *Server) output(name string, args ...string) (string, error) {
	path, err := program(name)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd := s.command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return "", fmt.Errorf("%s: %w\n%s%s", name, err, &out, log)
	}
	return out.String(), nil
}
