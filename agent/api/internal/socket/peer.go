package socket

import (
	"context"
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of the socket, by the kernel's word. A client cannot forge it.
type Peer struct {
	known bool
	uid   uint32
	pid   int32
}

type peerKey struct{}

// WithPeer adds the Peer of a connection to its context. Where the kernel does not say, orders are logged without one.
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
	return context.WithValue(ctx, peerKey{}, Peer{known: true, uid: cred.Uid, pid: cred.Pid})
}

// PeerOf returns what WithPeer added to ctx, or the zero Peer.
func PeerOf(ctx context.Context) Peer {
	p, _ := ctx.Value(peerKey{}).(Peer)
	return p
}

// Attrs are the log attributes that name the user who gave an order.
func (p Peer) Attrs() []any {
	if !p.known {
		return nil
	}
	attrs := []any{"uid", p.uid, "pid", p.pid}
	if name := p.Name(); name != "" {
		attrs = append(attrs, "operator", name)
	}
	return attrs
}

// Name is the name of the user who gave an order, or "" if the host has none for them.
func (p Peer) Name() string {
	if !p.known {
		return ""
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(p.uid), 10))
	if err != nil {
		return ""
	}
	return u.Username
}
