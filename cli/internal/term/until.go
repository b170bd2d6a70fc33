package term

import (
	"context"
	"io"
)

// Until returns a reader of r whose Read ends with ctx, too. A read of a terminal or a pipe does not hear of the signal
// that ends ctx, and waits on.
func Until(ctx context.Context, r io.Reader) io.Reader { return &until{ctx, r} }

type until struct {
	ctx context.Context
	r   io.Reader
}

func (u *until) Read(p []byte) (n int, err error) {
	buf, read := make([]byte, len(p)), make(chan struct{}) // not p, which the caller has back when ctx ends
	var got int
	var failed error
	go func() {
		defer close(read)
		got, failed = u.r.Read(buf)
	}()
	select {
	case <-read:
		return copy(p, buf[:got]), failed
	case <-u.ctx.Done():
		return 0, u.ctx.Err()
	}
}
