package agent

import (
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"

	"personasync/agent/config"
)

// Inherited returns the socket that the service manager opened for ingest before it started this
// process, or nil when it did not (sd_listen_fds(3)). It is for the start of the process, and answers
// once. The manager keeps its own copy, so that connections wait through a restart instead of being
// refused.
func Inherited() (net.Listener, error) {
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			_ = f.Close() // a listener has a copy
		}
	}()
	switch len(files) {
	case 0:
		return nil, nil
	case 1:
		l, err := net.FileListener(files[0])
		if err != nil {
			return nil, fmt.Errorf("use the socket that systemd handed over: %w: it must be a ListenStream=", err)
		}
		return l, nil
	}
	return nil, fmt.Errorf("systemd handed %d sockets over, and there is one door: keep a single ListenStream= in the socket unit", len(files))
}

// listenAddress writes the address of l as ingest.listen has it.
func listenAddress(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// takeOver makes c say where the inherited socket listens, and holds it against that: a socket unit
// must not open to the network what the configuration may not.
func (p *process) takeOver(c *config.Config) error {
	address := listenAddress(p.o.Ingest)
	if c.Ingest.Listen != address {
		p.log.Warn("ingest.listen is not used: systemd listens, and its socket unit says where", "ingest.listen", c.Ingest.Listen, "socket", address)
	}
	return c.ListenAt(address)
}
