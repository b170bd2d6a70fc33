package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

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

func (f *frame) check(data Upkeep) http.HandlerFunc {
	return f.order(func(w http.ResponseWriter, r *http.Request) {
		f.stream(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
			return data.Check(ctx, progress)
		})
	})
}

func (f *frame) compact(data Upkeep) http.HandlerFunc {
	return f.order(func(w http.ResponseWriter, r *http.Request) {
		f.stream(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
			return data.Compact(ctx, progress)
		})
	})
}

// backUp streams a backup. The command makes the file, with the rights of its user and where they say.
func (f *frame) backUp(data Upkeep) http.HandlerFunc {
	return f.order(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", reportTrailer+", "+problemTrailer)
		w.Header().Set("Content-Type", "application/x-tar")
		out := newPatientWriter(w)
		report, err := data.Backup(r.Context(), out, func(_, total int64) {
			w.Header().Set(totalHeader, strconv.FormatInt(total, 10)) // counts until the first byte leaves
		})
		var text []byte
		if err == nil {
			text, err = json.Marshal(report)
		}
		if err == nil {
			w.Header().Set(reportTrailer, string(text))
			return
		}
		f.log.Error("upkeep failed", "path", r.URL.Path, "error", err)
		p, _ := newProblem(err)
		if text, err = json.Marshal(p); err == nil {
			w.Header().Set(problemTrailer, string(text))
		}
	})
}

// Check implements Upkeep.
func (c *Client) Check(ctx context.Context, progress func(done, total int64)) (*store.CheckReport, error) {
	r := new(store.CheckReport)
	return r, c.follow(ctx, "/api/db/check", nil, progress, r)
}

// Compact implements Upkeep.
func (c *Client) Compact(ctx context.Context, progress func(done, total int64)) (r store.CompactReport, err error) {
	return r, c.follow(ctx, "/api/db/compact", nil, progress, &r)
}

// Backup implements Upkeep.
func (c *Client) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r store.BackupReport, err error) {
	resp, err := c.order(ctx, "/api/db/backup", nil)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	total, _ := strconv.ParseInt(resp.Header.Get(totalHeader), 10, 64)
	_, err = io.CopyBuffer(struct{ io.Writer }{&counted{w: w, total: total, progress: progress}}, resp.Body, make([]byte, 256<<10))
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case err != nil:
		return r, fmt.Errorf("receive the backup: %w", err)
	}
	if text := resp.Trailer.Get(reportTrailer); text != "" {
		return r, json.Unmarshal([]byte(text), &r)
	}
	var p Problem
	if json.Unmarshal([]byte(resp.Trailer.Get(problemTrailer)), &p) == nil && p.Code != "" {
		return r, p.err()
	}
	return r, errors.New("the agent stopped in the middle of the backup")
}

// counted reports how many bytes went through it.
type counted struct {
	w           io.Writer
	done, total int64
	progress    func(done, total int64)
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if c.done += int64(n); c.progress != nil {
		c.progress(c.done, max(c.done, c.total))
	}
	return n, err
}
