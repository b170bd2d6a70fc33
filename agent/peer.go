package agent

import (
	"context"
	"net"
	"os/user"
	"strconv"
)

// peerKey is under what the context of a request has who made it.
type peerKey struct{}

// withPeer notes who is at the other end of a unix socket, as the kernel says.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	local, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, ok := peerUser(local)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// peerOf names the operator who made a request: the user's name, or the number of one without. Empty
// where the system does not tell.
func peerOf(ctx context.Context) string {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return ""
	}
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
