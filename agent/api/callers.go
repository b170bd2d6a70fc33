package api

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// guard refuses requests that a page of another site makes, and those that ours does not accept. It adds our version, and
// headers that keep answers out of caches and frames.
func (f *frame) guard(mux *http.ServeMux, ours func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(versionHeader, f.version)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		if !ours(r) || foreign(r) {
			f.log.Debug("admin request of a foreign page refused", "path", r.URL.Path)
			WriteProblem(w, http.StatusForbidden, Problem{Code: "forbidden", Message: "this is not for web pages"})
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			refused := refusal{header: h}
			mux.ServeHTTP(&refused, r)
			WriteProblem(w, refused.status, Problem{Code: codeNoRoute, Message: r.Method + " " + r.URL.Path + " is not answered here"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// refusal keeps the status and headers of a mux's refusal without its text, so that every answer is JSON.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }

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

// foreign reports whether a browser sent r on behalf of another site's page.
func foreign(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err != nil || u.Host != r.Host
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
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
