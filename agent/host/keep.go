package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// Kept is a listening socket that outlives the servers on it: between two of them, connections wait in its queue.
type Kept struct {
	l net.Listener // nil: it cannot be kept
}

// Keep keeps inherited, or else a socket that listens at the address that key of the configuration has. A unix socket that
// this process makes is not kept: it has a name, which its server looks after.
func Keep(ctx context.Context, key, address string, inherited net.Listener) (*Kept, error) {
	if inherited != nil {
		return &Kept{inherited}, nil
	}
	l, err := Listen(ctx, key, address)
	if err != nil {
		return nil, err
	}
	if _, named := l.(*SocketListener); named {
		return &Kept{}, l.Close()
	}
	return &Kept{l}, nil
}

// Again returns a listener on the socket, whose Close leaves the socket open. It is nil for one that is not kept.
func (k *Kept) Again() (net.Listener, error) {
	if k.l == nil {
		return nil, nil
	}
	file, err := k.l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, fmt.Errorf("keep the socket of ingest: %w", err)
	}
	l, err := net.FileListener(file)
	return l, errors.Join(err, file.Close())
}

// Close closes the socket.
func (k *Kept) Close() error {
	if k.l == nil {
		return nil
	}
	return k.l.Close()
}
