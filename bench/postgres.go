//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"

	"personasync/bench/internal/child"
	"personasync/bench/internal/figures"
)

// engines are those that keep a store, by name of the figures. The last is tables again, at the end of a longer way.
var engines = []string{"files", "tables", "far"}

// measurePostgres compares a store in files with one in PostgreSQL at the URL of -postgres, in turns.
func measurePostgres(ctx context.Context, b *bench) error {
	if b.postgres == "" {
		b.notice("no PostgreSQL was given to compare with: -postgres URL does, of a server whose standby confirms commits, or which has none")
		return nil
	}
	near := b.postgres
	far, err := lengthen(ctx, near)
	if err != nil {
		return err
	}
	defer far.Close()
	for rep := range b.long {
		for _, engine := range engines {
			if b.postgres = near; engine == "far" {
				b.postgres = far.url
			}
			if err := errors.Join(acknowledgeOn(ctx, b, engine), workOn(ctx, b, engine)); err != nil {
				return err
			}
			last := func(figure string) float64 { return figures.Median(b.book["postgres/"+engine+"/"+figure]) }
			b.say("postgres %d/%d  %-6s  ack %6.0f/s at 64, %6.0f/s at 256;  apply %6.0f/s alone, %6.0f/s beside;  drain %6.0f users/s;  take p99 %5.1f ms, %5.1f ms with the horizon pinned;  page %4.1f ms;  both ways %5.0f/s, %+.1f %% of tables",
				rep+1, b.long, engine, last("ack/64/rate"), last("ack/256/rate"), last("apply"), last("beside"), last("drain"), last("take"), last("pinned"), last("page"), last("both"), last("growth"))
		}
	}
	return nil
}

// postgresTable has the figures of both engines.
func postgresTable(b *bench) figures.Table {
	table := figures.Table{{"", "files", "PostgreSQL", fmt.Sprintf("%v away", roundTrip)}}
	for _, line := range []struct{ title, figure string }{
		{"64 connections, events/s", "ack/64/rate"}, {"p99, ms", "ack/64/p99"}, {"256 connections, events/s", "ack/256/rate"}, {"p99, ms", "ack/256/p99"},
		{"applied/s, while nothing comes in", "apply"}, {"processor of the agent, µs an event", "cpu"}, {"applied/s, while they come in", "beside"}, {"drain, users/s", "drain"}, {"p99 of a take, ms", "take"}, {"p99 of a take while vacuum is held up, ms", "pinned"},
		{"first page and counts, ms", "page"}, {"in and out at once, users/s of " + figures.Number(bothRate), "both"}, {"growth in the second half of that, %", "growth"}, {"events not applied and changes not sent at its end", "behind"}, {"round trip of one statement, ms", "trip"},
	} {
		row := []string{line.title}
		for _, engine := range engines {
			row = append(row, measured(b, "postgres/"+engine+"/"+line.figure))
		}
		table = append(table, row)
	}
	return table
}

// measured is spread, and a dash for what is not measured on every engine.
func measured(b *bench, name string) string {
	if math.IsNaN(b.book.Median(name)) {
		return "–"
	}
	return spread(b, name)
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
	worker, err := b.start(ctx, child.Order{Role: "engine", Name: engine, Dir: dir, Database: address, Count: b.sizes.Drain, For: b.sizes.Both, Profile: b.profileOf("agent", engine+"-work")})
	if err != nil {
		return errors.Join(err, dropped(ctx, address))
	}
	for name, value := range worker.Hello.Figures {
		b.book.Add("postgres/"+engine+"/"+name, value)
	}
	return errors.Join(worker.Stop(), dropped(ctx, address))
}
