package api

import (
	"context"
	"io"
	"net/http"

	"personasync/agent/api/internal/socket"
	"personasync/store"
)

// Upkeep looks after the data as a whole: a running agent does, or a command on the files of a stopped one. Each progress
// may be nil; it is called now and then with the bytes done and those to do.
type Upkeep interface {
	// Check reads everything and reports damage.
	Check(ctx context.Context, progress func(done, total int64)) (*store.CheckReport, error)

	// Compact rewrites the state without the space that deleted data left.
	Compact(ctx context.Context, progress func(done, total int64)) (store.CompactReport, error)

	// Backup writes a backup to w. After an error w holds a part of one, which the caller removes.
	Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (store.BackupReport, error)
}

var _ Upkeep = (*Client)(nil)

func check(h *socket.Handlers, data Upkeep) http.HandlerFunc {
	return h.Order(func(w http.ResponseWriter, r *http.Request) {
		h.Stream(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
			return data.Check(ctx, progress)
		})
	})
}

func compact(h *socket.Handlers, data Upkeep) http.HandlerFunc {
	return h.Order(func(w http.ResponseWriter, r *http.Request) {
		h.Stream(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
			return data.Compact(ctx, progress)
		})
	})
}

// backUp streams a backup. The command makes the file, with the rights of its user and where they say.
func backUp(h *socket.Handlers, data Upkeep) http.HandlerFunc {
	return h.Order(func(w http.ResponseWriter, r *http.Request) {
		h.StreamFile(w, r, "application/x-tar", func(ctx context.Context, out io.Writer, progress func(done, total int64)) (any, error) {
			return data.Backup(ctx, out, progress)
		})
	})
}

// Check implements Upkeep.
func (c *Client) Check(ctx context.Context, progress func(done, total int64)) (*store.CheckReport, error) {
	r := new(store.CheckReport)
	return r, c.agent.Follow(ctx, "/api/db/check", nil, progress, r)
}

// Compact implements Upkeep.
func (c *Client) Compact(ctx context.Context, progress func(done, total int64)) (r store.CompactReport, err error) {
	return r, c.agent.Follow(ctx, "/api/db/compact", nil, progress, &r)
}

// Backup implements Upkeep.
func (c *Client) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r store.BackupReport, err error) {
	return r, c.agent.Receive(ctx, "/api/db/backup", w, progress, &r)
}
