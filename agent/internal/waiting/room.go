package waiting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/ingest"
	"personasync/agent/internal/servicemanager"
	"personasync/agent/metrics"
	"personasync/store/domain"
)

const (
	// openAfter is how long an opening of the store may take before the room answers. Until then connections wait in the
	// kernel's queue, as at any start.
	openAfter = time.Second

	// repeatAfter is the least time between two lines of the log about a reason that changes.
	repeatAfter = time.Minute

	// closePatience bounds how long the end of the room waits for answers.
	closePatience = time.Second
)

// errNoAnswer is the reason before an attempt has failed.
var errNoAnswer = errors.New("the store has not answered yet")

// Room answers while there is no agent. Its exported fields are set before. One goroutine calls its methods.
type Room struct {
	Config        *config.Config
	Version       string
	Log           *slog.Logger
	Ingest, Admin *host.Kept

	mu      sync.Mutex // covers the rest
	due     bool       // the room opens soon
	why     error      // of the last attempt; nil: none has failed
	logged  string     // the reason in the log …
	told    time.Time  // … and when
	closing func()     // ends what answers; nil: nothing does
}

// Expect has the room open soon, unless Close comes before.
func (r *Room) Expect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.due && r.closing == nil {
		r.due = true
		time.AfterFunc(openAfter, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.due {
				r.enter()
			}
		})
	}
}

// Say opens the room, and has it answer with the reason why. It logs the first reason, and another one at times.
func (r *Room) Say(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.why = why
	if text := why.Error(); text != r.logged && now.Sub(r.told) > repeatAfter {
		r.logged, r.told = text, now
		r.Log.Error("the store cannot be opened: deliveries are answered with 503 until it can be; it is tried again every second", "error", why)
	}
	r.enter()
}

// Close ends the answers before an agent begins. The room may be opened again.
func (r *Room) Close() {
	r.mu.Lock()
	end := r.closing
	r.due, r.closing = false, nil
	r.mu.Unlock()
	if end != nil {
		end() // answers still ask for the reason
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why, r.logged, r.told = nil, "", time.Time{}
}

// reason is why there is no agent.
func (r *Room) reason() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.why, errNoAnswer)
}

// enter opens the room, if it is not open. What it cannot listen at is logged: the agent says the same when it begins. mu is
// held.
func (r *Room) enter() {
	if r.closing != nil {
		return
	}
	r.due = false
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var servers []*host.Server
	most, forAdmin := host.ConnectionLimits()
	serve := func(name string, l net.Listener, err error, most int, h http.Handler) {
		if err != nil {
			r.Log.Warn("nobody is answered there while the store cannot be opened", "part", name, "error", err)
			return
		}
		s := host.NewServer(r.Log, name, l, most, h)
		if certs, err := r.certificates(name); err == nil && certs != nil {
			s.HTTP.TLSConfig = certs.Config()
		}
		servers = append(servers, s)
		running.Go(func() { _ = s.Run() })
	}
	side := &api.Waiting{Version: r.Version, Why: r.reason, Metrics: metrics.Waiting(r.Version), Log: r.Log}
	socket, err := host.ListenSocket(r.Config.Socket(os.Getenv))
	serve("socket", socket, err, forAdmin, side.Socket())
	l, err := listen(ctx, r.Ingest, "ingest.listen", r.Config.Ingest.Listen)
	serve(partIngest, l, err, most, r.deliveries())
	if r.Config.Admin.Listen != "" {
		l, err = listen(ctx, r.Admin, "admin.listen", r.Config.Admin.Listen)
		serve("admin", l, err, forAdmin, side.Listener(r.Config.Admin.Listen))
	}
	manager := &servicemanager.Notifier{Log: r.Log, Status: r.statusLine, Liveness: func(context.Context) error { return nil }}
	running.Go(func() {
		manager.Tell(daemon.SdNotifyReady, manager.Status())
		_ = manager.Run(ctx)
	})
	r.closing = func() {
		end()
		for _, s := range servers {
			running.Go(func() { _ = s.Stop(closePatience) })
		}
		running.Wait()
	}
}

const partIngest = "ingest"

// certificates are those of ingest; nil without TLS, and for others.
func (r *Room) certificates(name string) (*host.Certificates, error) {
	if name != partIngest || r.Config.Ingest.TLSCert == "" {
		return nil, nil
	}
	return host.NewCertificates(&r.Config.Ingest)
}

// listen returns a listener on a socket that is kept, or a new one.
func listen(ctx context.Context, kept *host.Kept, key, address string) (net.Listener, error) {
	if l, err := kept.Again(); l != nil || err != nil {
		return l, err
	}
	return host.Listen(ctx, key, address)
}

// deliveries answers those. Where PostgreSQL is and what it says is not for their senders.
func (r *Room) deliveries() http.Handler {
	h := ingest.New(ingest.Config{}, nowhere{}, r.Log)
	h.SetUnready("the agent waits for its store")
	return h
}

// statusLine is what `systemctl status` shows.
func (r *Room) statusLine() string {
	return "STATUS=" + strings.Join(strings.Fields(fmt.Sprintf("not accepting events: %v", r.reason())), " ")
}

// nowhere is the inbox of an agent without a store.
type nowhere struct{}

func (nowhere) Append(context.Context, ...*domain.Event) error { return domain.ErrClosed }
func (nowhere) CountRefusal(domain.Refusal)                    {}
