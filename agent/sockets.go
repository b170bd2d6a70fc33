package agent

import (
	"context"
	"time"
)

// socketsEvery is how often the unix sockets are compared with their names.
const socketsEvery = time.Second

// keepSockets makes the unix sockets anew that lost their names, and says which of them nobody can reach. Without
// the one of ingest.listen no event arrives, so the agent is unready.
func (p *process) keepSockets(ctx context.Context) error {
	said := make(map[*socketListener]string)
	for pause(ctx, socketsEvery) == nil {
		for _, l := range p.sockets {
			p.keepSocket(l, said)
		}
	}
	return nil
}

func (p *process) keepSocket(l *socketListener, said map[*socketListener]string) {
	renewed, err := l.renew()
	why := ""
	if err != nil {
		why = err.Error()
	}
	if renewed {
		p.log.Warn("a socket was removed or replaced while the agent runs; it was made again", "socket", l.path)
	}
	if why != "" && said[l] == "" {
		p.log.Error("a socket was removed or replaced while the agent runs, and cannot be made again: nobody can connect there; it is tried again every second",
			"socket", l.path, "error", err)
	}
	said[l] = why
	if l.ingest {
		p.readiness.miss(why)
	}
}
