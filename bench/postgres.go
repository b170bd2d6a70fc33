//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
	"personasync/bench/internal/figures"
	"personasync/bench/internal/seed"
	"personasync/store"
	"personasync/store/domain"
)

// engines are those that keep a store, by name of the figures.
var engines = []string{"files", "tables"}

// measurePostgres compares a store in files with one in PostgreSQL at the URL of -postgres, in turns.
func measurePostgres(ctx context.Context, b *bench) error {
	if b.postgres == "" {
		b.notice("no PostgreSQL was given to compare with: -postgres URL does, of a server whose standby confirms commits, or which has none")
		return nil
	}
	for rep := range b.long {
		for _, engine := range engines {
			if err := errors.Join(acknowledgeOn(ctx, b, engine), workOn(ctx, b, engine)); err != nil {
				return err
			}
			last := func(figure string) float64 { return b.book.Last("postgres/" + engine + "/" + figure) }
			b.say("postgres %d/%d  %-6s  ack %6.0f/s at 64, %6.0f/s at 256;  apply %6.0f/s;  drain %6.0f users/s;  take p99 %5.1f ms, %5.1f ms with the horizon pinned;  page %4.1f ms;  both ways %5.0f/s, %+.1f %% of tables",
				rep+1, b.long, engine, last("ack/64/rate"), last("ack/256/rate"), last("apply"), last("drain"), last("take"), last("pinned"), last("page"), last("both"), last("growth"))
		}
	}
	return nil
}

// postgresTable has the figures of both engines.
func postgresTable(b *bench) figures.Table {
	table := figures.Table{{"", "files", "PostgreSQL"}}
	for _, line := range []struct{ title, figure string }{
		{"64 connections, events/s", "ack/64/rate"}, {"p99, ms", "ack/64/p99"}, {"256 connections, events/s", "ack/256/rate"}, {"p99, ms", "ack/256/p99"},
		{"applied/s, while they come in", "apply"}, {"drain, users/s", "drain"}, {"p99 of a take, ms", "take"}, {"p99 of a take while vacuum is held up, ms", "pinned"},
		{"first page and counts, ms", "page"}, {"in and out at once, users/s of " + figures.Number(bothRate), "both"}, {"growth in the second half of that, %", "growth"},
	} {
		row := []string{line.title}
		for _, engine := range engines {
			row = append(row, spread(b, "postgres/"+engine+"/"+line.figure))
		}
		table = append(table, row)
	}
	return table
}

// database is the URL for a store of an engine, "" for files. Each store has a schema of its own.
func database(b *bench, engine string) string {
	if engine == "files" {
		return ""
	}
	b.served++
	return fmt.Sprintf("%s#bench_%d_%d", b.postgres, os.Getpid(), b.served)
}

// dropped drops the schema of a store.
func dropped(ctx context.Context, address string) error {
	url, schema, found := strings.Cut(address, "#")
	if !found {
		return nil
	}
	_, err := psql(ctx, url, "set client_min_messages = error; drop schema if exists "+schema+" cascade")
	return err
}

// psql has PostgreSQL's own client run a statement.
func psql(ctx context.Context, url, statement string) (string, error) {
	out, err := exec.CommandContext(ctx, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// acknowledgeOn runs the agent on an engine under the loads of 64 and 256 connections.
func acknowledgeOn(ctx context.Context, b *bench, engine string) error {
	for _, s := range shapes[2:4] {
		dir, err := b.folder()
		if err != nil {
			return err
		}
		address := database(b, engine)
		err = func() (err error) {
			server, err := b.start(ctx, child.Order{Role: "serve", Name: "agent", Dir: dir, Database: address, Profile: b.profileOf("agent", engine+"-"+s.name)})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, server.Stop()) }()
			result, err := press(ctx, b, server, b.eventsOver(0), 0, s, b.during)
			if err == nil {
				record(b, "postgres/"+engine+"/ack/"+s.name, result)
			}
			return err
		}()
		if err = errors.Join(err, dropped(ctx, address), os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

// workOn has a child apply, take and settle on an engine.
func workOn(ctx context.Context, b *bench, engine string) error {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	address := database(b, engine)
	worker, err := b.start(ctx, child.Order{Role: "engine", Dir: dir, Database: address, Count: b.sizes.Drain, For: b.sizes.Both, Profile: b.profileOf("agent", engine+"-work")})
	if err != nil {
		return errors.Join(err, dropped(ctx, address))
	}
	for name, value := range worker.Hello.Figures {
		b.book.Add("postgres/"+engine+"/"+name, value)
	}
	return errors.Join(worker.Stop(), dropped(ctx, address))
}

// engineWork is the role that works on a store of one engine.
type engineWork struct {
	order   child.Order
	shared  *store.Shared // nil: files
	s       *store.Store
	figures map[string]float64
	next    int // number of the next new user
}

// workOnEngine is the role of a writer without an agent. It says its figures, and returns.
func workOnEngine(ctx context.Context, o child.Order, say func(child.Hello)) (err error) {
	w := &engineWork{order: o, figures: map[string]float64{}}
	if o.Database != "" {
		if w.shared, err = store.Connect(ctx, contender.Database(o.Database)); err != nil {
			return err
		}
		defer w.shared.Close()
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.s.Close()) }()
	for _, measure := range []func(context.Context) error{w.apply, w.page, w.takes, w.both} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	say(child.Hello{Figures: w.figures})
	<-ctx.Done()
	return nil
}

// open opens the store, with rules by which each user has one change to send.
func (w *engineWork) open(ctx context.Context) (err error) {
	options := store.Options{Log: slog.New(slog.DiscardHandler), ReceivedBytes: 1, Delivered: time.Second}
	if w.shared != nil {
		w.s, err = w.shared.Open(ctx, w.order.Dir, options)
	} else {
		w.s, err = store.Open(w.order.Dir, options)
	}
	if err != nil {
		return err
	}
	return w.s.SetRules(ctx, domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute, Collapse: true, OnNull: domain.NullSkip}, OnDelete: "forget", MessageIDs: 48 * time.Hour})
}

// receive appends events of so many new users.
func (w *engineWork) receive(ctx context.Context, count int) error {
	for group := range slices.Chunk(seed.Numbers(w.next, count), 1000) {
		if err := seed.AppendUsers(ctx, w.s, group); err != nil {
			return err
		}
	}
	w.next += count
	return nil
}

// apply measures how fast received events are applied, while more of them come as fast as that.
func (w *engineWork) apply(ctx context.Context) error {
	began := time.Now()
	if err := w.receive(ctx, w.order.Count); err != nil {
		return err
	}
	appended := time.Since(began)
	if err := w.s.Applied(ctx); err != nil {
		return err
	}
	w.figures["append"] = float64(w.order.Count) / appended.Seconds()
	w.figures["apply"] = float64(w.order.Count) / time.Since(began).Seconds()
	return nil
}

// page measures a first page of pending changes, and the figures of a status.
func (w *engineWork) page(context.Context) error {
	var took []time.Duration
	for range 21 {
		began := time.Now()
		_, _, err := w.s.Changes(domain.OutboxFilter{State: domain.StatePending, Limit: 100})
		if err == nil {
			_, err = w.s.Counts()
		}
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	w.figures["page"] = quantile(took, 0.5)
	return nil
}

// takes measures a drain of half of what is pending, and of the other half while a transaction of others keeps the vacuum
// from removing anything.
func (w *engineWork) takes(ctx context.Context) error {
	began := time.Now()
	took, users, err := w.drain(ctx, w.order.Count/2)
	if err != nil {
		return err
	}
	w.figures["drain"] = float64(users) / time.Since(began).Seconds()
	w.figures["take"] = quantile(took, 0.99)
	pinned, unpin := context.WithCancel(ctx)
	defer unpin()
	if url, _, found := strings.Cut(w.order.Database, "#"); found {
		pin := exec.CommandContext(pinned, "psql", "-Xq", "-d", url, "-c", "begin isolation level repeatable read; select txid_current(); select pg_sleep(600)")
		if err := pin.Start(); err != nil {
			return err
		}
		defer func() { unpin(); _ = pin.Wait() }()
		time.Sleep(time.Second)
	}
	took, _, err = w.drain(ctx, w.order.Count)
	w.figures["pinned"] = quantile(took, 0.99)
	return err
}

// drain takes and settles up to so many users, and returns how long each Take lasted.
func (w *engineWork) drain(ctx context.Context, most int) (took []time.Duration, users int, err error) {
	for users < most {
		began := time.Now()
		lease, _, err := w.s.Take(ctx, domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: began, MaxUsers: 500, MaxEvents: 500,
			Due: func(string) time.Time { return began.Add(time.Hour) }, Fit: func(domain.UserChanges) bool { return true },
		})
		took = append(took, time.Since(began))
		if err != nil || lease == nil {
			return took, users, err
		}
		done := domain.Result{Verdict: domain.Delivered}
		results := make([]domain.UserResult, len(lease.Users))
		for i := range results {
			results[i] = domain.UserResult{Attributes: done, Event: done}
		}
		if err := w.s.Settle(ctx, domain.Settlement{Lease: lease.ID, At: time.Now(), Results: results}); err != nil {
			return took, users, err
		}
		users += len(lease.Users)
	}
	return took, users, nil
}

// bothRate is how many events a second come in, and leave, in both.
const bothRate = 2500

// both receives and sends at once for the time of the order, and measures how the tables or files grow in its second half.
func (w *engineWork) both(ctx context.Context) error {
	const ticks = 10 // a second
	sizes, sent := []float64{}, 0
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	began := time.Now()
	for n := 0; time.Since(began) < w.order.For; n++ {
		<-tick.C
		if err := w.receive(ctx, bothRate/ticks); err != nil {
			return err
		}
		_, users, err := w.drain(ctx, bothRate/ticks)
		if err != nil {
			return err
		}
		sent += users
		if n%(5*ticks) == 0 {
			if _, err := w.s.Prune(ctx, time.Now()); err != nil {
				return err
			}
			size, err := w.size(ctx)
			if err != nil {
				return err
			}
			sizes = append(sizes, size)
		}
	}
	w.figures["both"] = float64(sent) / time.Since(began).Seconds()
	if half := len(sizes) / 2; half > 0 {
		w.figures["growth"] = 100 * (sizes[len(sizes)-1]/sizes[half] - 1)
	}
	return nil
}

// size is the bytes of what changes all the time: the index of what is due, in tables, or the whole file.
func (w *engineWork) size(ctx context.Context) (float64, error) {
	url, schema, found := strings.Cut(w.order.Database, "#")
	if !found {
		info, err := os.Stat(filepath.Join(w.order.Dir, "state.db"))
		if err != nil {
			return 0, err
		}
		return float64(info.Size()), nil
	}
	text, err := psql(ctx, url, fmt.Sprintf("select sum(pg_total_relation_size(format('%%I.%%I', schemaname, tablename)::regclass)) from pg_tables where schemaname = '%s' and tablename in ('due', 'queue', 'flights', 'meta', 'holder')", schema))
	if err != nil {
		return 0, err
	}
	var size float64
	_, err = fmt.Sscan(text, &size)
	return size, err
}

// quantile is that of durations, in ms.
func quantile(list []time.Duration, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return figures.Milliseconds(list[min(int(q*float64(len(list))), len(list)-1)])
}
