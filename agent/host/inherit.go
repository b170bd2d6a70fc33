package host

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Inheritance is the socket that the service manager passed to this process (sd_listen_fds(3)).
type Inheritance struct {
	// Ingest is the socket that was opened for ingest before the start; nil: none. The manager keeps its
	// own copy, so that connections wait through a restart instead of being refused.
	Ingest net.Listener

	// Missed says why there is none although there should be; "" otherwise. The agent then listens at ingest.listen, where
	// no delivery is sent to.
	Missed string
}

// Inherited returns the inheritance of this process. It is called once, at the start.
func Inherited() (i Inheritance, err error) {
	promised, to := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID")
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			_ = f.Close() // a listener has a copy
		}
	}()
	switch len(files) {
	case 0:
		i.Missed = missedSocket(promised, to, unitSocket())
		return i, nil
	case 1:
		i.Ingest, err = streamListener(files[0])
		return i, err
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return i, fmt.Errorf("systemd handed %d sockets over (%s), and ingest has one: keep a single ListenStream= in the socket unit",
		len(files), strings.Join(names, ", "))
}

// missedSocket says why no socket was passed although LISTEN_FDS and LISTEN_PID promised one, or although a socket unit of
// the service is enabled.
func missedSocket(promised, to, unit string) string {
	if promised != "" && promised != "0" {
		return fmt.Sprintf("systemd has a socket for process %q, and this is process %d, which cannot use it: "+
			"let ExecStart= run personasync itself, or let the shell between them `exec` it", to, os.Getpid())
	}
	if unit == "" {
		return ""
	}
	service := strings.TrimSuffix(unit, ".socket") + ".service"
	return fmt.Sprintf("%s is enabled and did not start, so that deliveries sent to its address do not arrive: see `systemctl status %s`, "+
		"then `systemctl stop %s; systemctl start %s %s`", unit, unit, service, unit, service)
}

// Booted reports whether systemd runs this host.
func Booted() bool {
	info, err := os.Stat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Unit names the service of systemd whose main process this is, without its suffix. It is "" when there is none, or when
// that is not sure: what a service starts is in its control group, too.
func Unit() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || os.Getenv("SYSTEMD_EXEC_PID") != strconv.Itoa(os.Getpid()) {
		return ""
	}
	return serviceOf(text)
}

// serviceOf names the service that cgroup is about.
func serviceOf(cgroup []byte) string {
	for line := range bytes.Lines(cgroup) {
		if name, isService := strings.CutSuffix(path.Base(strings.TrimSpace(string(line))), ".service"); isService {
			return name
		}
	}
	return ""
}

// unitSocket names the enabled socket unit of the service that this process is; "" when there is none.
func unitSocket() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || os.Getenv("INVOCATION_ID") == "" {
		return ""
	}
	return enabledSocket("/", text)
}

// enabledSocket looks below root for the socket unit of the service that cgroup is about, as systemd
// enables it.
func enabledSocket(root string, cgroup []byte) string {
	name := serviceOf(cgroup)
	for _, dir := range []string{"etc", "run", "usr/lib", "lib"} {
		if _, err := os.Lstat(filepath.Join(root, dir, "systemd/system/sockets.target.wants", name+".socket")); err == nil && !isMasked(root, name+".socket") {
			return name + ".socket"
		}
	}
	return ""
}

// isMasked reports whether `systemctl mask` keeps a unit from being started.
func isMasked(root, unit string) bool {
	return slices.ContainsFunc([]string{"etc", "run"}, func(dir string) bool {
		to, err := os.Readlink(filepath.Join(root, dir, "systemd/system", unit))
		return err == nil && to == os.DevNull
	})
}

// streamListener makes a listener of an inherited file. net.FileListener takes sockets that nobody can
// connect to, and fails only when a connection is accepted.
func streamListener(f *os.File) (net.Listener, error) {
	refuse := func(err error) (net.Listener, error) {
		return nil, fmt.Errorf("use the socket %s that systemd handed over: %w: it must be a ListenStream=, with Accept=no", f.Name(), err)
	}
	fd := int(f.Fd())
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return refuse(err)
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return refuse(err)
	}
	if kind != unix.SOCK_STREAM || listens == 0 {
		return refuse(errors.New("nobody can connect to it"))
	}
	l, err := net.FileListener(f)
	if err != nil {
		return refuse(err)
	}
	return l, nil
}

// ListenAddress writes the address of l as ingest.listen has it.
func ListenAddress(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}
