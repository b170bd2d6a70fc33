package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// Admin is the agent's windows: one for the unix socket, which its file's mode protects and which
// alone takes orders, and one for admin.listen, which anybody who reaches the port can look through.
// Through the second nobody sees a user id unless show_users says so.
type Admin struct {
	Inspect Inspector
	Unready func() string // empty: events are being accepted
	Refused func() *condition.RefusedReload

	Configuration func() Configuration
	Authenticate  func(context.Context) Authentication

	Flush     func(ctx context.Context, computation string) (FlushReceipt, error)
	Retry     func(context.Context, HandOrder) (*HandReceipt, error)
	Drop      func(context.Context, HandOrder) (*HandReceipt, error)
	Upkeep    Upkeep
	Orders    Orders
	Verify    func(ctx context.Context, o VerifyOrder, progress func(done, total int64)) (*VerifyReport, error)
	Version   string
	ShowUsers func() bool // on admin.listen
	Log       *slog.Logger
	Metrics   http.Handler // nil: none
	Page      *statusPage  // nil: none
}

const (
	pageLimit = MaxRehearsal // items of one answer, at most
	maxOrder  = 64 << 10
)

// Socket handles the unix socket.
func (a *Admin) Socket() http.Handler {
	mux := http.NewServeMux()
	a.public(mux)
	a.users(mux, func(h http.HandlerFunc) http.HandlerFunc { return h })
	a.asked(mux)
	mux.HandleFunc("POST /api/flush", a.order(a.answer(a.flush)))
	mux.HandleFunc("POST /api/order", a.order(a.carryOut))
	mux.HandleFunc("POST /api/user/forget", a.order(a.forgetUser))
	mux.HandleFunc("POST /api/outbox/retry", a.handle(a.Retry))
	mux.HandleFunc("POST /api/outbox/drop", a.handle(a.Drop))
	mux.HandleFunc("POST /api/verify", a.order(a.verifyData))
	mux.HandleFunc("POST /api/db/check", a.order(a.checkData))
	mux.HandleFunc("POST /api/db/compact", a.order(a.compactData))
	mux.HandleFunc("POST /api/db/backup", a.order(a.backUpData))
	return a.guard(mux, func(r *http.Request) bool { return r.Header.Get("Origin") == "" })
}

// Listener handles admin.listen. names are the hosts by which it may be called besides localhost
// and addresses: a browser that was tricked into resolving another name to us is sent away.
func (a *Admin) Listener(names ...string) http.Handler {
	mux := http.NewServeMux()
	a.public(mux)
	a.users(mux, a.onlyIfShown)
	if a.Page != nil {
		a.Page.routes(mux, a)
	}
	return a.guard(mux, func(r *http.Request) bool { return isProbe(r.URL.Path) || knownHost(r.Host, names) })
}

// isProbe reports whether path is for load balancers, Prometheus and the like, which call us by names of
// their own. It tells of no user.
func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" || path == "/metrics" }

// hostNames are the names by which a listener at address may be called: its host, or those of the
// machine when it listens everywhere.
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

// public adds what holds no user id.
func (a *Admin) public(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	if a.Metrics != nil {
		mux.Handle("GET /metrics", a.Metrics)
	}
	mux.HandleFunc("GET /api/hello", a.answer(func(*http.Request) (any, error) {
		return Hello{Version: a.Version, PID: os.Getpid()}, nil
	}))
	mux.HandleFunc("GET /api/status", a.answer(func(r *http.Request) (any, error) {
		return a.Inspect.Status(r.Context())
	}))
	mux.HandleFunc("GET /api/stats", a.answer(func(r *http.Request) (any, error) {
		return a.Inspect.Stats(r.Context())
	}))
	mux.HandleFunc("GET /api/schedule", a.answer(func(r *http.Request) (any, error) {
		next, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("next"), "1"))
		if err != nil || next < 0 {
			return nil, fmt.Errorf("%w: next is no count", errUsage)
		}
		return a.Inspect.Schedule(r.Context(), next)
	}))
	mux.HandleFunc("GET /api/computations", a.answer(func(r *http.Request) (any, error) {
		return a.Inspect.Computations(r.Context())
	}))
}

// users adds what names users, each handler behind door.
func (a *Admin) users(mux *http.ServeMux, door func(http.HandlerFunc) http.HandlerFunc) {
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /api/changes": a.changes,
		"GET /api/change":  a.change,
		"GET /api/members": a.members,
		"GET /api/user":    a.user,
		"GET /api/dry-run": a.dryRun,
		"GET /api/trail":   a.trail,
	} {
		mux.HandleFunc(pattern, door(a.answer(answer)))
	}
}

func (a *Admin) healthz(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"alive": true})
}

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	why := a.Unready()
	if why == "" {
		answer := map[string]any{"ready": true}
		if refused := a.Refused(); refused != nil {
			answer["config_refused"] = refused // ready all the same: the configuration of before goes on
		}
		if list, err := a.Inspect.Computations(r.Context()); err == nil && len(condition.Guarded(list)) > 0 {
			answer["guard"] = condition.Guarded(list) // ready all the same: it speaks of accepting events
		}
		writeJSON(w, http.StatusOK, answer)
		return
	}
	writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": why})
}

func (a *Admin) changes(r *http.Request) (any, error) {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	items, next, err := a.Inspect.Changes(r.Context(), f)
	return page[domain.ChangeInfo]{Items: items, More: next != "", Next: next}, err
}

func readFilter(q url.Values) (f domain.OutboxFilter, err error) {
	f.User, f.Computation = q.Get("user"), q.Get("computation")
	if f.Limit, err = readLimit(q); err != nil {
		return f, err
	}
	if name := q.Get("state"); name != "" {
		state, ok := domain.ParseState(name)
		if !ok {
			return f, fmt.Errorf("%w: %q is no state", errUsage, name)
		}
		f.State = state
	}
	f.Cursor = q.Get("cursor")
	return f, nil
}

func readLimit(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return store.DefaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: limit %q is no count", errUsage, text)
	}
	return min(n, pageLimit), nil
}

func (a *Admin) change(r *http.Request) (any, error) {
	id, err := domain.ParseID(r.URL.Query().Get("id"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return a.Inspect.Change(r.Context(), id)
}

func (a *Admin) members(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := readLimit(q)
	if err != nil {
		return nil, err
	}
	items, more, err := a.Inspect.Members(r.Context(), q.Get("key"), q.Get("after"), limit)
	return page[domain.MemberInfo]{Items: items, More: more}, err
}

func (a *Admin) user(r *http.Request) (any, error) {
	return a.Inspect.User(r.Context(), r.URL.Query().Get("id"))
}

func (a *Admin) dryRun(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := readLimit(q)
	if err != nil {
		return nil, err
	}
	return a.Inspect.DryRun(r.Context(), q.Get("computation"), limit)
}

func (a *Admin) trail(r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := readLimit(q)
	if err != nil {
		return nil, err
	}
	return a.Inspect.Trail(r.Context(), store.ActivityFilter{User: q.Get("user"), Computation: q.Get("computation"), Limit: limit, Cursor: q.Get("cursor")})
}

func (a *Admin) flush(r *http.Request) (any, error) {
	var order flushOrder
	body, err := io.ReadAll(io.LimitReader(r.Body, maxOrder))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &order); err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return a.Flush(r.Context(), order.Computation)
}

// guard refuses browsers, whose pages may come from anywhere, and hosts that are not ours; and says
// our version. What it shows belongs into no cache and no frame.
func (a *Admin) guard(mux *http.ServeMux, ours func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(versionHeader, a.Version)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		if !ours(r) || foreign(r) {
			a.Log.Debug("admin request of a foreign page refused", "path", r.URL.Path)
			writeProblem(w, http.StatusForbidden, problem{Code: "forbidden", Message: "this is not for web pages"})
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			refused := refusal{header: h}
			mux.ServeHTTP(&refused, r)
			writeProblem(w, refused.status, problem{Code: codeNoRoute, Message: r.Method + " " + r.URL.Path + " is not answered here"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// codeNoRoute is the problem of a request that no route takes. It is not the not_found of a question:
// to a client of another version it means something else.
const codeNoRoute = "no_route"

// refusal keeps a mux's refusal but for its text, so that every answer is JSON.
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

// knownHost reports whether host, as a client called us, is an address, localhost or one of names.
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

// order lets through only who says its version: a header that no web page can add unasked.
func (a *Admin) order(carryOut http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		theirs := r.Header.Get(versionHeader)
		if theirs == "" {
			writeProblem(w, http.StatusForbidden, problem{Code: "forbidden", Message: "an order states its version in " + versionHeader})
			return
		}
		a.Log.Info("operator's order", append(peerOf(r.Context()).attrs(), "path", r.URL.Path, "verb", r.URL.Query().Get("verb"), "client_version", theirs)...)
		carryOut(w, r)
	}
}

// onlyIfShown closes a route on admin.listen unless user ids may be seen there.
func (a *Admin) onlyIfShown(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !a.ShowUsers() {
			writeProblem(w, http.StatusForbidden, problem{Code: "forbidden",
				Message: "user ids are shown here only with admin.show_users = true; the commands and the unix socket always show them"})
			return
		}
		next(w, r)
	}
}

// answer turns a question into a handler.
func (a *Admin) answer(ask func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := ask(r)
		if err == nil {
			writeJSON(w, http.StatusOK, v)
			return
		}
		p, status := newProblem(err)
		if p.Code == "internal" && !errors.Is(err, context.DeadlineExceeded) {
			a.Log.Error("an inspection failed", "path", r.URL.Path, "error", err)
		}
		writeProblem(w, status, p)
	}
}

func writeProblem(w http.ResponseWriter, status int, p problem) { writeJSON(w, status, p) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // whoever asked has gone
}
