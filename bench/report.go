//go:build linux

package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"personasync/bench/internal/contender"
	"personasync/bench/internal/figures"
)

//go:embed report.md.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report").Parse(reportText))

// report prints the results and optionally writes the page.
func report(b *bench) error {
	page, err := page(b)
	if err != nil {
		return err
	}
	if b.out != "" {
		path := b.out
		if !filepath.IsAbs(path) {
			path = filepath.Join(b.root, path)
		}
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			return err
		}
		b.say("written to %s", path)
	}
	return print(b, os.Stdout)
}

// print writes the tables that have figures.
func print(b *bench, to io.Writer) error {
	for _, t := range []struct {
		measure, title string
		table          figures.Table
	}{
		{"", "goals", goalTable(b)},
		{"ack", "events/s", ackTable(b, "rate")},
		{"ack", "latency in ms, median / p99", latencyTable(b)},
		{"ack", "CPU µs an event", ackTable(b, "cpu")},
		{"fsyncs", "fsyncs a post", fsyncTable(b)},
		{"users", "users stored", usersTable(b)},
		{"backlog", "backlog", backlogTable(b)},
		{"backup", "backups", backupTable(b)},
		{"drain", "drain", drainTable(b)},
		{"delay", "delay", delayTable(b)},
		{"listing", "listing", listingTable(b)},
		{"product", "program", productTable(b)},
		{"postgres", "a store in PostgreSQL", postgresTable(b)},
	} {
		if t.measure != "" && !slices.Contains(b.done, t.measure) && !(t.measure == "users" && b.large) {
			continue
		}
		if _, err := fmt.Fprintf(to, "\n%s\n%s", t.title, t.table); err != nil {
			return err
		}
	}
	return nil
}

// page returns docs/BENCHMARKS.md, except for the notes that are written by hand below it.
func page(b *bench) (string, error) {
	type story struct{ Title, Story string }
	var stories []story
	for _, c := range contender.All {
		stories = append(stories, story{c.Title, c.Story})
	}
	var text strings.Builder
	err := reportTemplate.Execute(&text, map[string]any{
		"Measures": strings.Join(measureNames, ","), "Machine": machine(b), "How": how(b), "Notices": b.notices,
		"Goals": goalTable(b), "Rates": ackTable(b, "rate"), "Latencies": latencyTable(b), "CPU": ackTable(b, "cpu"), "Contenders": stories,
		"Fsyncs": fsyncTable(b), "Users": usersTable(b), "Backlog": backlogTable(b), "Backup": backupTable(b), "Drain": drainTable(b), "Delay": delayTable(b),
		"Listing":    listingTable(b),
		"DrainUsers": figures.Number(float64(b.sizes.Drain)), "Product": productTable(b),
		"Postgres": postgresTable(b),
	})
	return text.String(), err
}

// machine describes the machine.
func machine(b *bench) string {
	var system unix.Utsname
	_ = unix.Uname(&system)
	var memory unix.Sysinfo_t
	_ = unix.Sysinfo(&memory)
	return fmt.Sprintf("Measured on %s with %d × %s, %d GB of memory, Linux %s, %s, data on %s.",
		b.began.Format("2006-01-02"), runtime.NumCPU(), processor(), uint64(memory.Totalram)*uint64(memory.Unit)>>30,
		unix.ByteSliceToString(system.Release[:]), runtime.Version(), fileSystem(b.home))
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// fileSystem returns the file system of dir, from the longest mount point above it.
func fileSystem(dir string) string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "an unknown file system"
	}
	best, kind := "", "an unknown file system"
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || len(fields[1]) < len(best) {
			continue
		}
		if inside, err := filepath.Rel(fields[1], dir); err == nil && !strings.HasPrefix(inside, "..") {
			best, kind = fields[1], fields[2]
		}
	}
	return kind
}

// how describes the extent of the run.
func how(b *bench) string {
	text := fmt.Sprintf("Medians of %d repetitions, of %d for users' large part, backlog and drain; %v of load each. The run took %v.",
		b.reps, b.long, b.during, time.Since(b.began).Round(time.Minute))
	if b.quick {
		text += " **This was a quick run with small counts. Its figures are rough, and the goals are compared with smaller amounts than they ask for.**"
	}
	return text
}

func goalTable(b *bench) figures.Table {
	t := figures.Table{{"measure", "goal", "measured", ""}}
	for _, g := range goals(b) {
		measured := figures.Number(g.figure)
		if !math.IsNaN(g.figure) {
			measured += g.unit
		}
		t = append(t, []string{g.title, g.want(), measured, g.verdict()})
	}
	return t
}

// ackTable has one figure of every contender under every load.
func ackTable(b *bench, figureName string) figures.Table {
	return byShape(b, func(c contender.Contender, s shape) string {
		return spread(b, figure(c, s)+"/"+figureName)
	})
}

func latencyTable(b *bench) figures.Table {
	return byShape(b, func(c contender.Contender, s shape) string {
		return figures.Number(b.book.Median(figure(c, s)+"/p50")) + " / " + figures.Number(b.book.Median(figure(c, s)+"/p99"))
	})
}

// byShape returns a table with a row for each contender and a column for each load.
func byShape(b *bench, cell func(contender.Contender, shape) string) figures.Table {
	head := []string{""}
	for _, s := range shapes {
		head = append(head, s.title)
	}
	t := figures.Table{head}
	for _, c := range contender.All {
		row := []string{c.Title}
		for _, s := range shapes {
			if c.Name == "sqlite" && !b.withSQLite() {
				row = append(row, "needs cgo")
				continue
			}
			row = append(row, cell(c, s))
		}
		t = append(t, row)
	}
	return t
}

// spread returns a median with half of the range of the repetitions, in percent of the median.
func spread(b *bench, name string) string {
	figures, text := b.book[name], figures.Number(b.book.Median(name))
	if len(figures) < 2 {
		return text
	}
	return fmt.Sprintf("%s ±%.0f%%", text, 50*(slices.Max(figures)-slices.Min(figures))/b.book.Median(name))
}

func fsyncTable(b *bench) figures.Table {
	t := figures.Table{{"", shapes[0].title, steady.title + " connections"}}
	for _, c := range contender.All {
		if b.book[fsyncFigure(c, shapes[0])] != nil {
			t = append(t, []string{c.Title, spread(b, fsyncFigure(c, shapes[0])), spread(b, fsyncFigure(c, steady))})
		}
	}
	return t
}

func usersTable(b *bench) figures.Table {
	t := figures.Table{{"users stored", "events/s", "to none", "p99, ms", "lag at half time and at the end, s"}}
	add := func(title, name, none string) {
		if b.book[name+"/rate"] == nil {
			return
		}
		lag := ""
		if b.book[name+"/lag"] != nil {
			lag = figures.Number(b.book.Median(name+"/lag-half")) + ", " + figures.Number(b.book.Median(name+"/lag"))
		}
		t = append(t, []string{title, spread(b, name+"/rate"), figures.Number(b.book.Ratio(name+"/rate", none+"/rate")), spread(b, name+"/p99"), lag})
	}
	for _, users := range b.sizes.Users {
		add(figures.Number(float64(users)), usersFigure("users", users), usersFigure("users", 0))
	}
	for _, kind := range []string{"/burst", "/sustained"} {
		for _, users := range []int{0, largeUsers} {
			add(figures.Number(float64(users))+strings.Replace(kind, "/", ", ", 1), usersFigure("large", users)+kind, usersFigure("large", 0)+kind)
		}
	}
	return t
}

func backlogTable(b *bench) figures.Table {
	return figures.Table{
		{"64 connections", "events/s", "median, ms", "p99, ms", "applied a second"},
		{"while " + figures.Number(float64(b.sizes.Backlog)) + " events are applied", spread(b, "backlog/busy/rate"), spread(b, "backlog/busy/p50"), spread(b, "backlog/busy/p99"), spread(b, "backlog/beside")},
		{"after", spread(b, "backlog/calm/rate"), spread(b, "backlog/calm/p50"), spread(b, "backlog/calm/p99"), "without any load: " + spread(b, "backlog/alone")},
	}
}

func backupTable(b *bench) figures.Table {
	return figures.Table{
		{"64 connections, " + figures.Number(float64(backupUsers(b))) + " users stored", "events/s", "median, ms", "p99, ms", "loads in turn"},
		{"while a backup is written and proven", spread(b, "backup/with/rate"), spread(b, "backup/with/p50"), spread(b, "backup/with/p99"), spread(b, "backup/loads")},
		{"without", spread(b, "backup/without/rate"), spread(b, "backup/without/p50"), spread(b, "backup/without/p99"), spread(b, "backup/loads")},
	}
}

func drainTable(b *bench) figures.Table {
	t := figures.Table{{"MoEngage answers after", "users/s", "growth of memory, MiB", "CPU µs a user, agent", "sandbox"}}
	for _, latency := range latencies {
		name := drainFigure(latency)
		t = append(t, []string{latency.String(), spread(b, name+"/rate"), spread(b, name+"/memory"), spread(b, name+"/cpu"), spread(b, name+"/sandbox")})
	}
	return t
}

func delayTable(b *bench) figures.Table {
	t := figures.Table{{"schedule.max_delay", "median, ms", "p99, ms"}}
	for _, wait := range delayWaits {
		name := delayFigure(wait)
		t = append(t, []string{wait.String(), spread(b, name+"/p50"), spread(b, name+"/p99")})
	}
	return t
}

func listingTable(b *bench) figures.Table {
	return figures.Table{
		{"of " + figures.Number(float64(b.sizes.Drain)) + " pending changes", ""},
		{"the first page, ms", spread(b, "listing/first")},
		{"the first page of one user, ms", spread(b, "listing/user")},
		{"all of them, lines a second", spread(b, "listing/rate")},
		{"growth of memory by half of them, MiB", spread(b, "listing/half")},
		{"growth of memory by all of them, MiB", spread(b, "listing/memory")},
		{"events a second without a listing", spread(b, "listing/alone/rate")},
		{"events a second with a listing", spread(b, "listing/beside/rate")},
		{"lines a second of that listing", spread(b, "listing/beside/lines")},
	}
}

func productTable(b *bench) figures.Table {
	return figures.Table{
		{"binary " + figures.Number(b.book.Median("product/size")) + " MB", "start, ms", "idle memory, MiB"},
		{"nothing stored", spread(b, "product/empty/start"), spread(b, "product/empty/idle")},
		{figures.Number(float64(b.sizes.State>>20)) + " MiB of state", spread(b, "product/full/start"), spread(b, "product/full/idle")},
	}
}
