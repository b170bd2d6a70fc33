// Package valid says why a single value of the configuration cannot be used: an address, a name at MoEngage, a cron
// spec. Its functions are pure, except for [SamePath] and [Program]. Their errors complete a sentence that begins with the key.
package valid

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"personasync/agent/config/wording"
)

// UnixPrefix begins the address of a unix socket.
const UnixPrefix = "unix:"

// maxSocketPath is the longest path in a Linux sockaddr_un without its final zero byte.
const maxSocketPath = 107

// ListenAddress checks host:port or unix:/path. local means that only this machine can reach the address.
func ListenAddress(address string) (local bool, err error) {
	if path, ok := strings.CutPrefix(address, UnixPrefix); ok {
		return true, SocketPath(path)
	}
	return HostPort(address)
}

// SocketPath returns why path cannot be the path of a unix socket, or nil.
func SocketPath(path string) error {
	switch {
	case path == "":
		return errors.New(`must name a socket, like "unix:/run/personasync/ingest.sock"`)
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path of a socket may have %d bytes, this one has %d: choose a shorter one", maxSocketPath, len(path))
	}
	return nil
}

// HostPort checks a TCP address. A host name other than "localhost" counts as not local, because a lookup would
// make the result depend on the network.
func HostPort(address string) (local bool, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, errors.New(`must be host:port, like "127.0.0.1:8480"`)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return false, fmt.Errorf("%q is not a port: must be a number from 0 to 65535", wording.Shorten(port))
	}
	if strings.ContainsAny(host, " /\\@") {
		return false, fmt.Errorf("%q is not a host name", wording.Shorten(host))
	}
	return IsLoopback(host), nil
}

// IsLoopback reports whether host is this machine by address or as "localhost".
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// SameAddress reports whether a listener at one address prevents a listener at the other.
func SameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	ipA, ipB := listenIP(hostA), listenIP(hostB)
	if !ipA.IsValid() || !ipB.IsValid() {
		return hostA == hostB
	}
	return ipA == ipB || ipA.IsUnspecified() || ipB.IsUnspecified()
}

// listenIP returns the address that a listener uses for host, or the zero Addr if that depends on the network.
func listenIP(host string) netip.Addr {
	switch host {
	case "":
		return netip.IPv6Unspecified()
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap()
}

// SamePath reports whether two paths name the same file. It compares their text and their existing directories.
func SamePath(a, b string) bool {
	if filepath.Base(a) != filepath.Base(b) {
		return false
	}
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	one, err := os.Stat(filepath.Dir(a))
	other, failed := os.Stat(filepath.Dir(b))
	return err == nil && failed == nil && os.SameFile(one, other)
}
