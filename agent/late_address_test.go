package agent

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lateAddress is of a documentation network: no machine has it.
const lateAddress = "192.0.2.80"

// TestAnAddressThatComesUpAfterTheSocketTakesDeliveries: personasync.socket with the address of an interface that
// was not up yet failed for good. The socket is made here as systemd makes it of the unit's settings, in a network
// of its own.
func TestAnAddressThatComesUpAfterTheSocketTakesDeliveries(t *testing.T) {
	const inside = "PERSONASYNC_TEST_OWN_NETWORK"
	if os.Getenv(inside) == "" {
		child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), inside+"=yes")
		child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if os.Geteuid() != 0 {
			child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		out, err := child.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Skipf("no network of its own is to be had: %v", err)
		}
		if contains(string(out), "--- SKIP") {
			t.Skipf("%s", out)
		}
		if err != nil || !contains(string(out), "delivered at "+lateAddress) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	bringUp(t, "lo", "")
	for _, unit := range []string{"personasync.socket", "personasync@.socket"} {
		text, err := os.ReadFile("../packaging/systemd/" + unit)
		if err != nil {
			t.Fatal(err)
		}
		l := listenAsUnit(t, string(text))
		s := newSite(t)
		a := s.start(s.load("PERSONASYNC_INGEST_BEHIND_PROXY=true"), RunOptions{Ingest: l})
		if conn, err := net.DialTimeout("tcp", a.Ingest.String(), time.Second); err == nil {
			conn.Close()
			t.Errorf("%s is there before it came up", lateAddress)
		}
		bringUp(t, "lo:late", lateAddress)
		if code := a.post(http.DefaultClient, "http", news("ann", true, time.Now())); code != http.StatusOK {
			t.Errorf("%s: a delivery was answered %d", unit, code)
		}
		t.Log("delivered at", a.Ingest)
		a.stop()
		takeDown(t, "lo:late")
	}
}

// listenAsUnit makes the socket of a socket unit whose ListenStream= a drop-in has changed to lateAddress.
func listenAsUnit(t *testing.T, unit string) net.Listener {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if regexp.MustCompile(`(?m)^FreeBind=(yes|true|on|1)$`).MatchString(unit) {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1))
	}
	at := &unix.SockaddrInet4{Port: 8480, Addr: [4]byte(net.ParseIP(lateAddress).To4())}
	if err = errors.Join(err, unix.Bind(fd, at)); err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		t.Fatalf("the unit that says %q gets no socket: %v", strings.Join(strings.Fields(unit[strings.Index(unit, "[Socket]"):]), " "), err)
	}
	file := os.NewFile(uintptr(fd), "ingest")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// bringUp gives an interface an address, if one is given, and starts it.
func bringUp(t *testing.T, name, address string) {
	t.Helper()
	if address != "" {
		change(t, name, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(net.ParseIP(address).To4()) })
	}
	change(t, name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil })
}

func takeDown(t *testing.T, name string) {
	t.Helper()
	change(t, name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(0); return nil })
}

func change(t *testing.T, name string, request uint, set func(r *unix.Ifreq) error) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = set(r)
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, request, r)
	}
	if errors.Is(err, unix.EPERM) {
		t.Skipf("its network may not be changed: %v", err)
	}
	if err != nil {
		t.Fatalf("change the interface %s: %v", name, err)
	}
}
