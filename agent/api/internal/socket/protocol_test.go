package socket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store"
)

// worded is an error with words of its own, as the store and the agent return them.
type worded struct {
	words string
	is    error
}

func (w worded) Error() string { return w.words }
func (w worded) Unwrap() error { return w.is }

// talk is a client of an agent with these routes beside the greeting, and its log.
func talk(t *testing.T, add func(mux *http.ServeMux, h *Handlers)) (c *Client, log *bytes.Buffer) {
	log = new(bytes.Buffer)
	mux, h := http.NewServeMux(), &Handlers{"1.0", slog.New(slog.NewTextHandler(log, nil))}
	mux.HandleFunc("GET /api/hello", h.Answer(func(*http.Request) (any, error) { return Hello{"1.0", 7}, nil }))
	add(mux, h)
	return dial(t, serve(t, h.Guard(mux, func(*http.Request) bool { return true }))), log
}

// TestAnErrorArrivesWithItsWordsAndItsSentinel on each of the ways that an answer takes. What commands exit with hangs on it.
func TestAnErrorArrivesWithItsWordsAndItsSentinel(t *testing.T) {
	var fails error
	c, _ := talk(t, func(mux *http.ServeMux, h *Handlers) {
		mux.HandleFunc("GET /question", h.Answer(func(*http.Request) (any, error) { return nil, fails }))
		mux.HandleFunc("POST /order", h.Order(h.Answer(func(*http.Request) (any, error) { return nil, fails })))
		mux.HandleFunc("POST /refused", h.Order(func(w http.ResponseWriter, _ *http.Request) { Refuse(w, fails) }))
		mux.HandleFunc("POST /long", h.Order(func(w http.ResponseWriter, r *http.Request) {
			h.Stream(w, r, func(_ context.Context, progress func(done, total int64)) (any, error) {
				progress(1, 2)
				return nil, fails
			})
		}))
		mux.HandleFunc("POST /file", h.Order(func(w http.ResponseWriter, r *http.Request) {
			h.StreamFile(w, r, "text/plain", func(_ context.Context, out io.Writer, _ func(done, total int64)) (any, error) {
				_, err := io.WriteString(out, "a part")
				return nil, errors.Join(fails, err)
			})
		}))
	})
	ways := map[string]func() error{
		"question": func() error { return c.Get(t.Context(), "/question", nil, new(any)) },
		"order":    func() error { return c.Post(t.Context(), "/order", nil, new(any)) },
		"refused":  func() error { return c.Follow(t.Context(), "/refused", nil, nil, new(any)) },
		"long":     func() error { return c.Follow(t.Context(), "/long", nil, nil, new(any)) },
		"file":     func() error { return c.Receive(t.Context(), "/file", io.Discard, nil, new(any)) },
	}
	for _, sentinel := range []error{store.ErrNotFound, store.ErrNoData, store.ErrUnderway, store.ErrNoMembers, store.ErrReferredTo, store.ErrNoSuccessor,
		ErrUnreadable, ErrPaused, store.ErrFull, store.ErrMoved, ErrUsage, store.ErrBadCursor, store.ErrClosed, nil} {
		fails = worded{"the audience vip: no such thing", sentinel}
		for way, ask := range ways {
			err := ask()
			if err == nil || err.Error() != fails.Error() || sentinel != nil && !errors.Is(err, sentinel) {
				t.Errorf("%s: %v arrived as %v", way, sentinel, err)
			}
		}
	}
	fails = &store.AmbiguousError{Key: "vip", IDs: []string{"aud_1", "aud_2"}}
	for way, ask := range ways {
		ambiguous := new(store.AmbiguousError)
		if err := ask(); !errors.As(err, &ambiguous) || cmp.Diff(fails, error(ambiguous)) != "" {
			t.Errorf("%s: an ambiguous key arrived as %v", way, err)
		}
	}
}

// TestAnAgentThatEndsInTheMiddleSaysWhatToDo: "EOF", an order said whose agent was killed, "connection refused" the next, and
// nothing of what to do.
func TestAnAgentThatEndsInTheMiddleSaysWhatToDo(t *testing.T) {
	c, _ := talk(t, func(mux *http.ServeMux, h *Handlers) {
		mux.HandleFunc("/ends", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		mux.HandleFunc("POST /begins", h.Order(func(w http.ResponseWriter, r *http.Request) {
			h.Stream(w, r, func(_ context.Context, progress func(done, total int64)) (any, error) {
				progress(1, 2)
				panic(http.ErrAbortHandler)
			})
		}))
	})
	for what, x := range map[string]struct {
		ask  func() error
		says string
	}{
		"question":        {func() error { return c.Get(t.Context(), "/ends", nil, new(any)) }, "run the command again"},
		"order":           {func() error { return c.Post(t.Context(), "/ends", nil, new(any)) }, "give the order again"},
		"order at once":   {func() error { return c.Follow(t.Context(), "/ends", nil, nil, new(any)) }, "give the order again"},
		"order under way": {func() error { return c.Follow(t.Context(), "/begins", nil, nil, new(any)) }, "give the order again"},
	} {
		if err := x.ask(); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v, want %q", what, err, x.says)
		}
	}
	_ = c.Close()
	if err := os.Remove(c.socket); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), "/ends", nil, new(any)); err == nil || !strings.Contains(err.Error(), "run the command again") {
		t.Errorf("a question to none: %v", err)
	}
	if err := c.Follow(t.Context(), "/begins", nil, nil, new(any)); err == nil || !strings.Contains(err.Error(), "give it again") {
		t.Errorf("an order to none: %v", err)
	}
}

func TestALongOrderTellsItsProgressAndItsReport(t *testing.T) {
	c, log := talk(t, func(mux *http.ServeMux, h *Handlers) {
		mux.HandleFunc("POST /long", h.Order(func(w http.ResponseWriter, r *http.Request) {
			h.Stream(w, r, func(_ context.Context, progress func(done, total int64)) (any, error) {
				body, err := io.ReadAll(r.Body)
				progress(3, 9)
				return "read " + string(body), err
			})
		}))
	})
	var report string
	var done, total int64
	err := c.Follow(t.Context(), "/long?verb=import&user=ann", strings.NewReader("a list"), func(d, n int64) { done, total = d, n }, &report)
	if err != nil || report != "read a list" || done != 3 || total != 9 {
		t.Errorf("%q after %d of %d, %v", report, done, total, err)
	}
	for _, words := range []string{"path=/long", "verb=import", "client_version=1.0", "pid=" + strconv.Itoa(os.Getpid()), "uid=" + strconv.Itoa(os.Getuid())} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("no %s in %s", words, log)
		}
	}
	if strings.Contains(log.String(), "ann") {
		t.Errorf("the log has a user: %s", log)
	}
}

// TestAFileArrivesWholeOrNotAtAll: with its report, and a cut one as an error.
func TestAFileArrivesWholeOrNotAtAll(t *testing.T) {
	content := strings.Repeat("page", 100_000)
	c, _ := talk(t, func(mux *http.ServeMux, h *Handlers) {
		mux.HandleFunc("POST /file", h.Order(func(w http.ResponseWriter, r *http.Request) {
			h.StreamFile(w, r, "text/plain", func(_ context.Context, out io.Writer, progress func(done, total int64)) (any, error) {
				progress(0, int64(len(content)))
				_, err := io.WriteString(out, content)
				return map[string]int{"bytes": len(content)}, err
			})
		}))
		mux.HandleFunc("POST /cut", h.Order(func(w http.ResponseWriter, r *http.Request) {
			h.StreamFile(w, r, "text/plain", func(_ context.Context, out io.Writer, _ func(done, total int64)) (any, error) {
				_, _ = io.WriteString(out, content)
				panic(http.ErrAbortHandler)
			})
		}))
	})
	var got bytes.Buffer
	var report struct{ Bytes int }
	var done, total int64
	err := c.Receive(t.Context(), "/file", &got, func(d, n int64) { done, total = d, n }, &report)
	if size := int64(len(content)); err != nil || got.String() != content || report.Bytes != len(content) || done != size || total != size {
		t.Errorf("%d bytes, report %+v, %d of %d, %v", got.Len(), report, done, total, err)
	}
	if err := c.Receive(t.Context(), "/cut", io.Discard, nil, &report); err == nil {
		t.Error("a file that was cut arrived as a whole one")
	}
}

// TestARouteThatIsNotThereIsOneOfAnotherVersion, while a question may find nothing.
func TestARouteThatIsNotThereIsOneOfAnotherVersion(t *testing.T) {
	c, _ := talk(t, func(mux *http.ServeMux, h *Handlers) {
		mux.HandleFunc("GET /question", h.Answer(func(*http.Request) (any, error) { return nil, store.ErrNotFound }))
		mux.Handle("GET /metrics", http.NotFoundHandler())
	})
	if err := c.Get(t.Context(), "/nothing", nil, new(any)); err == nil || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "version 1.0") {
		t.Errorf("a route that is not there: %v", err)
	}
	if err := c.Get(t.Context(), "/question", nil, new(any)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a question that finds nothing: %v", err)
	}
	if _, err := c.Metrics(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("metrics that are not there: %v", err)
	}
	if where := c.Where(); where != "the agent is running (pid 7)" {
		t.Error(where)
	}
}
