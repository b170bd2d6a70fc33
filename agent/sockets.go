package agent

import (
	"context"
	"slices"
	"time"

	"personasync/agent/condition"
	"personasync/agent/host"
)

// socketsEvery is how often the unix sockets are compared with their names.
const socketsEvery = time.Second

// keepSockets makes the unix sockets anew that lost their names, and says which of them nobody can reach. Without
// the one of ingest.listen no event arrives, so the agent is unready.
func (p *process) keepSockets(ctx context.Context) error {
	var lost []condition.LostSocket
	for pause(ctx, socketsEvery) == nil {
		var still []condition.LostSocket
		for _, l := range p.sockets {
			if s := p.keepSocket(l, lost); s != nil {
				still = append(still, *s)
			}
		}
		lost = still
		p.lost.Store(&still)
	}
	return nil
}

// keepSocket returns nil once people can connect to l. lost are the sockets that could not be made the last time.
func (p *process) keepSocket(l *host.SocketListener, lost []condition.LostSocket) *condition.LostSocket {
	renewed, err := l.Renew()
	if renewed {
		p.log.Warn("a socket was removed or replaced while the agent runs; it was made again", "socket", l.Path)
	}
	if err == nil {
		if l.Ingest {
			p.readiness.miss("")
		}
		return nil
	}
	s := &condition.LostSocket{Path: l.Path, Ingest: l.Ingest, Why: err.Error(), Since: time.Now()}
	if was := slices.IndexFunc(lost, func(other condition.LostSocket) bool { return other.Path == l.Path }); was >= 0 {
		s.Since = lost[was].Since
	} else {
		p.log.Error("a socket was removed or replaced while the agent runs, and cannot be made again: nobody can connect there; it is tried again every second",
			"socket", l.Path, "error", err)
	}
	if l.Ingest {
		p.readiness.miss(s.Why)
	}
	return s
}
