package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"personasync/agent/api"
	"personasync/agent/host"
	"personasync/agent/inspect"
	"personasync/store"
	"personasync/store/domain"
)

func TestOpenWithoutDataSaysThereIsNone(t *testing.T) {
	s := newSite(t)
	_, _, _, err := Open(t.Context(), s.load(), "1.0")
	if !errors.Is(err, store.ErrNoData) || !contains(err.Error(), s.dir) {
		t.Errorf("got %v", err)
	}
}

func TestOpenWaitsForTheSocketOfAnAgentThatStarts(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load()
	data, err := store.Open(c.DataDir, store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	listening := make(chan struct{})
	go func() { // the agent has locked its files, and is about to open its socket
		defer close(listening)
		time.Sleep(3 * lockPoll)
		l, err := host.ListenSocket(filepath.Join(s.dir, "s"))
		if err != nil {
			t.Error(err)
			return
		}
		side := &http.Server{Handler: (&api.Server{Running: &operator{}, Version: "1.0", Log: quiet()}).Socket(), ReadHeaderTimeout: time.Second}
		t.Cleanup(func() { _ = side.Close() })
		go func() { _ = side.Serve(l) }()
	}()
	_, done, running, err := Open(t.Context(), c, "1.0")
	if err != nil || !running {
		t.Fatalf("running %v, %v", running, err)
	}
	_ = done.Close()
	<-listening
}

// TestAReaderOfFilesLetsAnAgentStart: an agent finds its files free between the parts of a long count,
// and of a page that hardly anything belongs on. Such a page held them until it was full.
func TestAReaderOfFilesLetsAnAgentStart(t *testing.T) {
	for name, read := range map[string]func(context.Context, api.Inspector) error{
		"a count": func(ctx context.Context, i api.Inspector) error {
			_, err := i.Stats(ctx, domain.OutboxFilter{})
			return err
		},
		"a filtered page": func(ctx context.Context, i api.Inspector) error {
			page, next, err := i.Changes(ctx, domain.OutboxFilter{Computation: "rare"})
			if len(page) != 1 || next != "" {
				t.Errorf("the page is %v, then %q", page, next)
			}
			return err
		},
		"the members of a small audience": func(ctx context.Context, i api.Inspector) error {
			page, more, err := i.Members(ctx, "rare", "", 0)
			if len(page) != 1 || more {
				t.Errorf("the members are %v, more: %t", page, more)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			c := s.load()
			crowd(t, c.DataDir)
			looks, from := 0, fileSource(c, "1.0")
			files := from.Open
			from.Open = func() (*store.View, func() error, error) {
				if looks++; looks > 1 {
					agent, err := store.Open(c.DataDir, store.Options{Log: quiet()})
					if err != nil {
						t.Errorf("before look %d the files were held: %v", looks, err)
					} else if err := agent.Close(); err != nil {
						t.Error(err)
					}
				}
				return files()
			}
			if err := read(t.Context(), inspect.New(from)); err != nil || looks < 2 {
				t.Errorf("%d looks, %v", looks, err)
			}
		})
	}
}

// crowd lays 2,500 users with something pending in dir, one of them in the audience "rare".
func crowd(t *testing.T, dir string) {
	t.Helper()
	data, err := store.Open(dir, store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	event := func(key, user string) *domain.Event {
		return &domain.Event{Received: now, Time: now, Call: domain.CallIdentify, MessageID: key + user, User: domain.Identifier{ID: user},
			Class: domain.ClassAudience, Space: "spa", Key: key, ComputationID: "aud_" + key, Flag: domain.FlagIn, Raw: []byte("{}")}
	}
	events := []*domain.Event{event("rare", "zoe")}
	for n := range 2500 {
		events = append(events, event("common", fmt.Sprintf("user-%04d", n)))
	}
	rules := domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute, Collapse: true}}
	if err := errors.Join(data.SetRules(t.Context(), rules), data.Append(t.Context(), events...), data.Applied(t.Context()), data.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestAReaderThatComesBackAtOnceLeavesPauses: an agent that starts looks for the lock now and then only.
func TestAReaderThatComesBackAtOnceLeavesPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const looks, each = 9, readTurn / 2
		open := takingTurns(func() (*store.View, func() error, error) {
			time.Sleep(each)
			return nil, func() error { return nil }, nil
		})
		began := time.Now()
		for range looks {
			_, done, err := open()
			if err := errors.Join(err, done()); err != nil {
				t.Fatal(err)
			}
		}
		if paused := time.Since(began) - looks*each; paused != 4*readPause {
			t.Errorf("%d looks paused for %v", looks, paused)
		}
	})
}

func TestAListingThatTheAgentStartsUnderSaysSo(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load()
	s.start(c, RunOptions{}).stop()
	i, _ := open(t, c)
	data, err := store.Open(c.DataDir, store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	if _, _, err := i.Changes(t.Context(), domain.OutboxFilter{}); !errors.Is(err, store.ErrInUse) || !contains(err.Error(), "ask again") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyADeniedConfigurationNamesItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.toml")
	denied := &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	if err := DeniedConfig(fmt.Errorf("load: %w", denied)); !errors.Is(err, fs.ErrPermission) || !contains(err.Error(), "be ") || !contains(err.Error(), path) {
		t.Errorf("a denied file: %v", err)
	}
	for _, other := range []error{nil, fs.ErrPermission, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}} {
		if err := DeniedConfig(other); err != other {
			t.Errorf("%v became %v", other, err)
		}
	}
}
