//go:build linux

// Package contender has the servers that are compared: the agent, and other ways to accept the same events.
package contender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/bench/internal/child"
	"personasync/bench/internal/load"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Contender is one way to accept events.
type Contender struct {
	Name, Title, Story string

	// handler opens its data in dir and returns the handler and its close function. It is nil for the agent,
	// which serves itself.
	handler func(dir string, log *slog.Logger) (http.Handler, func() error, error)
}

// All are listed in the order of their turns. Those with an ingest handler use the agent's signature check and
// event parser, so that only the storage differs.
var All = []Contender{
	{Name: "discard", Title: "HTTP, dropped", handler: discardHandler,
		Story: "net/http reads the body, drops it and answers. Nothing can be faster over HTTP here."},
	{Name: "agent", Title: "agent",
		Story: "`agent.Run` as `personasync run` runs it: it checks signatures, reads events, writes the inbox, and applies to membership and outbox. Its schedule is never due, so nothing is sent."},
	{Name: "sqlite", Title: "SQLite outbox", handler: sqliteHandler,
		Story: "The agent's ingest handler in front of C SQLite: WAL, synchronous=FULL, group commit by one goroutine with prepared statements. Each event is an insert of its bytes, an upsert into membership and, if that changed something, an insert into the outbox, which has an index by due time. The driver is used without database/sql."},
	{Name: "bolt", Title: "bbolt, db.Batch", handler: boltHandler,
		Story: "The agent's ingest handler in front of bbolt's own group commit, `db.Batch` with its defaults. Membership and outbox are written in the acknowledged transaction."},
	{Name: "rawlog", Title: "raw log", handler: rawHandler,
		Story: "The agent's ingest handler in front of a plain file: the events as received, one append and one fdatasync for each group. This is the limit of the disk for a server that checks and reads events before it acknowledges them."},
	{Name: "unread", Title: "raw log, unread", handler: unreadHandler,
		Story: "The same file, written by a handler that neither checks nor reads the body. The difference is the cost of checking and reading."},
}

// Named returns the contender with this name.
func Named(name string) (Contender, error) {
	for _, c := range All {
		if c.Name == name {
			return c, nil
		}
	}
	return Contender{}, fmt.Errorf("there is no contender %q", name)
}

// Run is the role of a server under load.
func Run(ctx context.Context, o child.Order, say func(child.Hello)) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if o.Name == "agent" {
		return agent.Run(ctx, agentConfig(o), agent.RunOptions{
			Log: log, Version: Version,
			Ready: func(at agent.Addresses) { say(child.Hello{Address: at.Ingest.String()}) },
		})
	}
	c, err := Named(o.Name)
	if err != nil {
		return err
	}
	h, done, err := c.handler(o.Dir, log)
	if err != nil {
		return err
	}
	return errors.Join(Serve(ctx, h, say), done())
}

// Version is the version that parent and child agents report to each other.
const Version = "bench"

// agentConfig is a usual configuration without rate limits, which would hide the speed of a drain.
func agentConfig(o child.Order) *config.Config {
	c := config.Default()
	c.DataDir = o.Dir
	c.Admin.Listen, c.Admin.Socket = "", AgentSocket(o.Dir)
	if o.Database != "" {
		d := Database(o.Database)
		c.Store.Engine, c.Store.URL, c.Store.Schema, c.Store.Replicated = "postgres", config.Secret{d.URL}, d.Schema, d.Replicated
	}
	c.Ingest.Listen = "127.0.0.1:0"
	c.Ingest.SharedSecret = config.Secret{load.Secret}
	c.MoEngage.WorkspaceID, c.MoEngage.APIKey = "workspace", config.Secret{"key"}
	c.MoEngage.UsersPerMinute, c.MoEngage.EventsPerMinute = 1<<30, 1<<30
	c.MoEngage.BaseURL = o.Target
	c.Schedule.MaxDelay = config.Duration{}
	if o.Target == "" {
		c.MoEngage.BaseURL = "http://127.0.0.1:9"
		c.Schedule.Mode, c.Schedule.Cron = "cron", "0 0 1 1 *"
		c.Schedule.CatchUp = "skip"
	}
	return c
}

// Database is the store at an address of the form URL#SCHEMA.
func Database(address string) store.SharedConfig {
	url, schema, _ := strings.Cut(address, "#")
	return store.SharedConfig{URL: url, Schema: schema, TTL: 5 * time.Second, Replicated: "no", Host: "bench", Version: Version, Log: slog.New(slog.DiscardHandler)}
}

// AgentSocket returns the admin socket of an agent on the data directory dir.
func AgentSocket(dir string) string { return filepath.Join(dir, "admin.sock") }

// Serve serves h on a free port until ctx is done. It has the agent's timeouts, because they have a cost.
func Serve(ctx context.Context, h http.Handler, say func(child.Hello)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	say(child.Hello{Address: l.Addr().String()})
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		err := server.Close()
		<-failed
		return err
	}
}

// Ingest returns the agent's ingest handler in front of another inbox.
func Ingest(in ingest.Inbox, log *slog.Logger) http.Handler {
	return ingest.New(ingest.Config{SharedSecrets: []string{load.Secret}, AuthRequired: true, CheckID: syncer.CheckID}, in, log)
}

// answer accepts a request as the agent does.
func answer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"success":true}`)
}

func discardHandler(string, *slog.Logger) (http.Handler, func() error, error) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w)
	})
	return h, func() error { return nil }, nil
}

// membershipOf returns the data that the rivals store. They drop events that the agent would park or ignore;
// the load has none.
func membershipOf(e *domain.Event) (user, computation string, in, ok bool) {
	return e.User.ID, e.ComputationID, e.Flag == domain.FlagIn, e.Fault == "" && e.User.ID != "" && e.Flag != domain.FlagSilent
}
