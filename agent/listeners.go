package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/ingest"
	"personasync/store"
	"personasync/store/domain"
)

// listeners are where the agent is reached.
type listeners struct {
	log         *slog.Logger
	unreachable func(why string) // receives why nobody can connect to ingest.listen; "" when they can

	socket, admin, ingest *host.Server       // admin is nil when it is off
	certs                 *host.Certificates // of ingest; nil without TLS

	sockets []*host.SocketListener                 // the unix sockets among them
	lost    atomic.Pointer[[]condition.LostSocket] // those that nobody can connect to
}

// errStopping ends the orders that are being carried out at a stop.
var errStopping = fmt.Errorf("the agent is stopping: %w", store.ErrClosed)

// inherited are sockets that are open already: of the service manager, or of an earlier life of this process. Of those that are nil
// the configuration says where to listen.
type inherited struct{ ingest, admin net.Listener }

// close closes those of a start that failed.
func (i inherited) close() {
	for _, l := range []net.Listener{i.ingest, i.admin} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// open opens the socket first, so that a command that finds the data locked finds the agent, and ingest last.
func (s *listeners) open(ctx context.Context, c *config.Config, given inherited, deliveries *ingest.Handler, side *api.Server) error {
	forIngest, forAdmin := host.ConnectionLimits()
	socket, err := host.ListenSocket(c.Socket(os.Getenv))
	if err != nil {
		return err
	}
	s.keep(socket, false)
	s.socket = host.NewServer(s.log, "socket", socket, forAdmin, side.Socket())
	s.socket.HTTP.ConnContext = api.WithPeer
	orders, end := context.WithCancelCause(context.Background())
	s.socket.HTTP.BaseContext = func(net.Listener) context.Context { return orders }
	s.socket.HTTP.RegisterOnShutdown(func() { end(errStopping) })
	if c.Admin.Listen != "" {
		l := given.admin
		if l == nil {
			if l, err = host.Listen(ctx, "admin.listen", c.Admin.Listen); err != nil {
				return err
			}
			s.keep(l, false)
		}
		s.admin = host.NewServer(s.log, "admin", l, forAdmin, side.Listener(c.Admin.Listen))
	}
	l := given.ingest
	if l == nil {
		if l, err = host.Listen(ctx, "ingest.listen", c.Ingest.Listen); err != nil {
			return err
		}
		s.keep(l, true)
	}
	s.ingest = host.NewServer(s.log, "ingest", l, forIngest, deliveries)
	if c.Ingest.TLSCert != "" {
		if s.certs, err = host.NewCertificates(&c.Ingest); err != nil {
			return err
		}
		s.ingest.HTTP.TLSConfig = s.certs.Config()
	}
	s.ingest.ReportUnread(func(status int, why host.Unread) { deliveries.Unread(status, unreadCodes[why]) })
	return nil
}

var unreadCodes = map[host.Unread]string{
	host.NotHTTP: domain.CodeNotHTTP, host.HeadersTooLarge: domain.CodeHeadersTooLarge,
	host.HTTPSToHTTP: domain.CodeHTTPSToHTTP, host.HTTPToHTTPS: domain.CodeHTTPToHTTPS,
}

// close closes what a start that failed had opened.
func (s *listeners) close() {
	for _, server := range []*host.Server{s.ingest, s.admin, s.socket} {
		if server != nil {
			_ = server.Close()
		}
	}
}

// addresses are where the agent is reached.
func (s *listeners) addresses() Addresses {
	at := Addresses{Ingest: s.ingest.Addr(), Socket: s.socket.Addr().String()}
	if s.admin != nil {
		at.Admin = s.admin.Addr()
	}
	return at
}

// keep has keepSockets look after l, if it is a unix socket.
func (s *listeners) keep(l net.Listener, ingest bool) {
	if socket, ok := l.(*host.SocketListener); ok {
		socket.Ingest = ingest
		s.sockets = append(s.sockets, socket)
	}
}

// lostSockets are the unix sockets that nobody can connect to.
func (s *listeners) lostSockets() []condition.LostSocket {
	if lost := s.lost.Load(); lost != nil {
		return *lost
	}
	return nil
}

// socketsEvery is how often the unix sockets are compared with their names.
const socketsEvery = time.Second

// keepSockets recreates the unix sockets that lost their names, and says which of them nobody can reach. Without
// the one of ingest.listen no event arrives, so the agent is unready.
func (s *listeners) keepSockets(ctx context.Context) error {
	tick := time.NewTicker(socketsEvery)
	defer tick.Stop()
	var lost []condition.LostSocket
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var still []condition.LostSocket
		for _, l := range s.sockets {
			if gone := s.keepSocket(l, lost); gone != nil {
				still = append(still, *gone)
			}
		}
		lost = still
		s.lost.Store(&still)
	}
}

// keepSocket returns nil once people can connect to l. lost are the sockets that could not be made the last time.
func (s *listeners) keepSocket(l *host.SocketListener, lost []condition.LostSocket) *condition.LostSocket {
	renewed, err := l.Renew()
	if renewed {
		s.log.Warn("a socket was removed or replaced while the agent runs; it was made again", "socket", l.Path)
	}
	if err == nil {
		if l.Ingest {
			s.unreachable("")
		}
		return nil
	}
	gone := &condition.LostSocket{Path: l.Path, Ingest: l.Ingest, Why: err.Error(), Since: time.Now()}
	if was := slices.IndexFunc(lost, func(other condition.LostSocket) bool { return other.Path == l.Path }); was >= 0 {
		gone.Since = lost[was].Since
	} else {
		s.log.Error("a socket was removed or replaced while the agent runs, and cannot be made again: nobody can connect there; it is retried every second",
			"socket", l.Path, "error", err)
	}
	if l.Ingest {
		s.unreachable(gone.Why)
	}
	return gone
}
