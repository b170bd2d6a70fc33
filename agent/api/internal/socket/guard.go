package socket

import (
	"net/http"
	"net/url"
)

// Guard refuses requests that a page of another site makes, and those that ours does not accept. It adds our version, and
// headers that keep answers out of caches and frames.
func (h *Handlers) Guard(mux *http.ServeMux, ours func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set(VersionHeader, h.Version)
		head.Set("Cache-Control", "no-store")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("Referrer-Policy", "no-referrer")
		if !ours(r) || foreign(r) {
			h.Log.Debug("admin request of a foreign page refused", "path", r.URL.Path)
			WriteProblem(w, http.StatusForbidden, Problem{Code: "forbidden", Message: "this is not for web pages"})
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			refused := refusal{header: head}
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

// foreign reports whether a browser sent r on behalf of another site's page.
func foreign(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err != nil || u.Host != r.Host
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}
