//go:build linux

package main

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
	"time"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// contender is one way to accept events.
type contender struct {
	name, title, story string

	// handler opens its data in dir and returns the handler and its close function. It is nil for the agent,
	// which serves itself.
	handler func(dir string, log *slog.Logger) (http.Handler, func() error, error)
}

// contenders are listed in the order of their turns. Those with a door use the agent's signature check and
// event parser, so that only the storage differs.
var contenders = []contender{
	{name: "discard", title: "HTTP, dropped", handler: discardHandler,
		story: "net/http reads the body, drops it and answers. Nothing can be faster over HTTP here."},
	{name: "agent", title: "agent",
		story: "`agent.Run` as `personasync run` runs it: signatures checked, events read, inbox, apply to membership and outbox. Its schedule never comes, so nothing is sent meanwhile."},
	{name: "sqlite", title: "SQLite outbox", handler: sqliteHandler,
		story: "The agent's door in front of C SQLite: WAL, synchronous=FULL, group commit by one goroutine with prepared statements. For each event an insert of its bytes, an upsert into membership and, where that changed something, an insert into the outbox, which has an index by due time. The driver is spoken to without database/sql in between."},
	{name: "bolt", title: "bbolt, db.Batch", handler: boltHandler,
		story: "The agent's door in front of bbolt's own group commit, `db.Batch` with its defaults. The same membership and outbox, in the transaction that is acknowledged."},
	{name: "rawlog", title: "raw log", handler: rawHandler,
		story: "The agent's door in front of a plain file: the events as they came, one append and one fdatasync a group. The limit of the disk for whoever checks and reads what it acknowledges."},
	{name: "unread", title: "raw log, unread", handler: unreadHandler,
		story: "The same file, written by a handler that neither checks nor reads the body: what checking and reading cost is the difference."},
}

func contenderNamed(name string) (contender, error) {
	for _, c := range contenders {
		if c.name == name {
			return c, nil
		}
	}
	return contender{}, fmt.Errorf("there is no contender %q", name)
}

// serveContender is the role of a server under load.
func serveContender(ctx context.Context, o order, say func(hello)) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if o.Name == "agent" {
		return agent.Run(ctx, agentConfig(o), agent.RunOptions{
			Log: log, Version: version,
			Ready: func(at agent.Addresses) { say(hello{Address: at.Ingest.String()}) },
		})
	}
	c, err := contenderNamed(o.Name)
	if err != nil {
		return err
	}
	h, done, err := c.handler(o.Dir, log)
	if err != nil {
		return err
	}
	return errors.Join(serve(ctx, h, say), done())
}

// version is the version that parent and child agents report to each other.
const version = "bench"

// agentConfig is a usual configuration without rate limits, which would hide the speed of a drain.
func agentConfig(o order) *config.Config {
	c := config.Default()
	c.DataDir = o.Dir
	c.Admin.Listen, c.Admin.Socket = "", agentSocket(o.Dir)
	c.Ingest.Listen = "127.0.0.1:0"
	c.Ingest.SharedSecret = config.Secret{secret}
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

func agentSocket(dir string) string { return filepath.Join(dir, "admin.sock") }

// serve serves h on a free port until ctx is done. It has the agent's timeouts, because they have a cost.
func serve(ctx context.Context, h http.Handler, say func(hello)) error {
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
	say(hello{Address: l.Addr().String()})
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		err := server.Close()
		<-failed
		return err
	}
}

// door returns the agent's ingest handler in front of another inbox.
func door(in ingest.Inbox, log *slog.Logger) http.Handler {
	return ingest.New(ingest.Config{SharedSecrets: []string{secret}, AuthRequired: true, CheckID: syncer.CheckID}, in, log)
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
