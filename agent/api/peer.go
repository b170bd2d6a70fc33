package api

import (
	"context"
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// peer is the process at the other end of the socket, by the kernel's word. A client cannot forge it.
type peer struct {
	known bool
	uid   uint32
	pid   int32
}

type peerKey struct{}

// WithPeer adds the peer of a connection to its context. Where the kernel does not say, orders are logged without one.
func WithPeer(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) {
		cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || cred == nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, peer{known: true, uid: cred.Uid, pid: cred.Pid})
}

func peerOf(ctx context.Context) peer {
	p, _ := ctx.Value(peerKey{}).(peer)
	return p
}

// attrs are the log attributes that name the user who gave an order.
func (p peer) attrs() []any {
	if !p.known {
		return nil
	}
	attrs := []any{"uid", p.uid, "pid", p.pid}
	if name := p.name(); name != "" {
		attrs = append(attrs, "operator", name)
	}
	return attrs
}

// name is the name of the user who gave an order, or "" if the host has none for them.
func (p peer) name() string {
	if !p.known {
		return ""
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(p.uid), 10))
	if err != nil {
		return ""
	}
	return u.Username
}
