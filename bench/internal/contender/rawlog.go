//go:build linux

package contender

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"personasync/agent/ingest"
	"personasync/store/domain"
)

// rawLog appends to a plain file with one write and one fdatasync per group.
type rawLog struct {
	file  *os.File
	group []byte
	*committer[[]byte]
}

func openRawLog(dir string) (*rawLog, error) {
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	r := &rawLog{file: f}
	r.committer = newCommitter(r.write)
	return r, nil
}

func (r *rawLog) write(items [][]byte) error {
	r.group = r.group[:0]
	for _, item := range items {
		r.group = append(r.group, item...)
	}
	if _, err := r.file.Write(r.group); err != nil {
		return err
	}
	return unix.Fdatasync(int(r.file.Fd()))
}

func (r *rawLog) close() error {
	r.committer.close()
	return r.file.Close()
}

// rawInbox is a raw log behind the agent's ingest handler.
type rawInbox struct{ *rawLog }

var _ ingest.Inbox = rawInbox{}

func rawHandler(dir string, log *slog.Logger) (http.Handler, func() error, error) {
	r, err := openRawLog(dir)
	if err != nil {
		return nil, nil, err
	}
	return Ingest(rawInbox{r}, log), r.close, nil
}

// Append implements ingest.Inbox.
func (in rawInbox) Append(ctx context.Context, events ...*domain.Event) error {
	if len(events) == 1 {
		return in.submit(ctx, events[0].Raw)
	}
	var all []byte
	for _, e := range events {
		all = append(all, e.Raw...)
	}
	return in.submit(ctx, all)
}

// CountRefusal implements ingest.Inbox.
func (rawInbox) CountRefusal(domain.Refusal) {}

// unreadHandler appends bodies without reading them.
func unreadHandler(dir string, _ *slog.Logger) (http.Handler, func() error, error) {
	r, err := openRawLog(dir)
	if err != nil {
		return nil, nil, err
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body := make([]byte, q.ContentLength)
		_, err := io.ReadFull(q.Body, body)
		if err == nil {
			err = r.submit(q.Context(), body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w)
	})
	return h, r.close, nil
}
