package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"personasync/agent/api/internal/socket"
	"personasync/store"
)

// upkeepFuncs is an Upkeep made of functions.
type upkeepFuncs struct {
	compact func(progress func(done, total int64)) (store.CompactReport, error)
	backup  func(ctx context.Context, w io.Writer, progress func(done, total int64)) (store.BackupReport, error)
}

func (f upkeepFuncs) Check(context.Context, func(done, total int64)) (*store.CheckReport, error) {
	return nil, store.ErrUnderway
}
func (f upkeepFuncs) Compact(_ context.Context, progress func(done, total int64)) (store.CompactReport, error) {
	return f.compact(progress)
}
func (f upkeepFuncs) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (store.BackupReport, error) {
	return f.backup(ctx, w, progress)
}

// overSocket is a client of an agent whose upkeep is u.
func overSocket(t *testing.T, u Upkeep) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	a := testServer(&answers{})
	a.Upkeep = u
	server := &http.Server{Handler: a.Socket(), ReadTimeout: 250 * time.Millisecond, WriteTimeout: 250 * time.Millisecond}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	c, err := Dial(t.Context(), path, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestUpkeepTakesLongerThanTheServersTimeouts has a compaction and a backup that do, with progress.
func TestUpkeepTakesLongerThanTheServersTimeouts(t *testing.T) {
	t.Parallel() // it waits
	payload := bytes.Repeat([]byte("page"), 100_000)
	c := overSocket(t, upkeepFuncs{
		compact: func(progress func(done, total int64)) (store.CompactReport, error) {
			for i := range int64(3) {
				progress(i, 3)
				time.Sleep(newsPause)
			}
			return store.CompactReport{Before: 9, After: 3, Pause: time.Millisecond}, nil
		},
		backup: func(ctx context.Context, w io.Writer, progress func(done, total int64)) (store.BackupReport, error) {
			progress(0, int64(len(payload)))
			time.Sleep(newsPause)
			for rest := payload; len(rest) > 0; rest = rest[len(payload)/4:] {
				time.Sleep(newsPause / 2)
				if _, err := w.Write(rest[:len(payload)/4]); err != nil {
					return store.BackupReport{}, err
				}
			}
			return store.BackupReport{Bytes: int64(len(payload))}, ctx.Err()
		},
	})
	told := int64(0)
	r, err := c.Compact(t.Context(), func(done, total int64) { told = total })
	if err != nil || r.After != 3 || told != 3 {
		t.Errorf("%+v %v, told %d", r, err, told)
	}
	var got bytes.Buffer
	b, err := c.Backup(t.Context(), &got, func(done, total int64) { told = total })
	if err != nil || !bytes.Equal(got.Bytes(), payload) || b.Bytes != int64(len(payload)) || told != int64(len(payload)) {
		t.Errorf("%+v %v: %d bytes, told %d", b, err, got.Len(), told)
	}
}

// newsPause is longer than the timeouts of the server above.
const newsPause = 550 * time.Millisecond

func TestUpkeepThatFailsSaysWhyOnBothSidesOfTheSocket(t *testing.T) {
	c := overSocket(t, upkeepFuncs{
		compact: func(progress func(done, total int64)) (store.CompactReport, error) {
			progress(1, 2)
			return store.CompactReport{}, store.ErrFull
		},
		backup: func(_ context.Context, w io.Writer, _ func(done, total int64)) (store.BackupReport, error) {
			_, err := w.Write([]byte("half of one"))
			return store.BackupReport{}, errors.Join(store.ErrFull, err)
		},
	})
	if _, err := c.Check(t.Context(), nil); !errors.Is(err, store.ErrUnderway) {
		t.Errorf("check: %v", err)
	}
	if _, err := c.Compact(t.Context(), nil); !errors.Is(err, store.ErrFull) {
		t.Errorf("compact: %v", err)
	}
	if _, err := c.Backup(t.Context(), io.Discard, nil); !errors.Is(err, store.ErrFull) {
		t.Errorf("backup: %v", err)
	}
}

func TestUpkeepIsOrderedThroughTheSocketAlone(t *testing.T) {
	a := testServer(&answers{})
	for _, path := range []string{"/api/db/check", "/api/db/compact", "/api/db/backup"} {
		if code := ask(a.Listener("127.0.0.1:8481"), http.MethodPost, "http://localhost"+path, socket.VersionHeader, "1.0").Code; code != http.StatusNotFound && code != http.StatusMethodNotAllowed {
			t.Errorf("admin.listen answers %s with %d", path, code)
		}
		if code := ask(a.Socket(), http.MethodPost, path).Code; code != http.StatusForbidden {
			t.Errorf("the socket answers %s without a version with %d", path, code)
		}
	}
}
