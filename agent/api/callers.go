package api

import (
	"net"
	"net/http"
	"os"
	"strings"
)

// isProbe reports whether path is for load balancers, Prometheus and the like. They call the agent by names of their own,
// and nothing there names a user.
func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" || path == "/metrics" }

// hostNames are the names that a listener at address may be called by: its host, or the machine's names where it listens
// on all addresses.
func hostNames(address string) []string {
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return []string{host}
	}
	name, err := os.Hostname()
	if err != nil {
		return nil
	}
	short, _, _ := strings.Cut(name, ".")
	return []string{name, short}
}

// knownHost reports whether the Host header of a request is an IP address, localhost or one of names.
func knownHost(host string, names []string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if name == "localhost" || net.ParseIP(trimBrackets(name)) != nil {
		return true
	}
	for _, n := range names {
		if n != "" && strings.EqualFold(name, n) {
			return true
		}
	}
	return false
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// fromNoPage reports whether a request comes from no web page. The unix socket is for commands alone.
func fromNoPage(r *http.Request) bool { return r.Header.Get("Origin") == "" }

// byKnownName returns what allows the requests to a listener at address that call it by a name of its own, and the probes.
func byKnownName(address string) func(*http.Request) bool {
	names := hostNames(address)
	return func(r *http.Request) bool { return isProbe(r.URL.Path) || knownHost(r.Host, names) }
}
