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
)

//go:embed report.md.tmpl
var reportText string

var reportTemplate = template.Must(template.New("report").Parse(reportText))

// report prints the results and optionally writes the page.
func (b *bench) report() error {
	page, err := b.page()
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
	return b.print(os.Stdout)
}

// print writes the tables that have figures.
func (b *bench) print(to io.Writer) error {
	for _, t := range []struct {
		measure, title string
		table          table
	}{
		{"", "goals", b.goalTable()},
		{"ack", "events/s", b.ackTable("rate")},
		{"ack", "latency in ms, median / p99", b.latencyTable()},
		{"ack", "CPU µs an event", b.ackTable("cpu")},
		{"fsyncs", "fsyncs a post", b.fsyncTable()},
		{"users", "users stored", b.usersTable()},
		{"backlog", "backlog", b.backlogTable()},
		{"drain", "drain", b.drainTable()},
		{"listing", "listing", b.listingTable()},
		{"product", "program", b.productTable()},
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

func (b *bench) page() (string, error) {
	type story struct{ Title, Story string }
	var stories []story
	for _, c := range contenders {
		stories = append(stories, story{c.title, c.story})
	}
	var text strings.Builder
	err := reportTemplate.Execute(&text, map[string]any{
		"Measures": measureNames(), "Machine": b.machine(), "How": b.how(), "Notices": b.notices,
		"Goals": b.goalTable(), "Rates": b.ackTable("rate"), "Latencies": b.latencyTable(), "CPU": b.ackTable("cpu"), "Contenders": stories,
		"Fsyncs": b.fsyncTable(), "Users": b.usersTable(), "Backlog": b.backlogTable(), "Drain": b.drainTable(),
		"Listing":    b.listingTable(),
		"DrainUsers": number(float64(b.sizes.Drain)), "Product": b.productTable(),
	})
	return text.String(), err
}

// machine describes the machine.
func (b *bench) machine() string {
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
func (b *bench) how() string {
	text := fmt.Sprintf("Medians of %d repetitions, of %d for users' large part, backlog and drain; %v of load each. The run took %v.",
		b.reps, b.long, b.during, time.Since(b.began).Round(time.Minute))
	if b.quick {
		text += " **It was a quick run, with small counts: its figures are rough, and goals are held against less than they ask for.**"
	}
	return text
}

// table is a Markdown table that is also readable as text.
type table [][]string

func (t table) String() string {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var text strings.Builder
	for i, row := range t {
		for j, cell := range row {
			fmt.Fprintf(&text, "| %s%s ", cell, strings.Repeat(" ", widths[j]-len([]rune(cell))))
		}
		text.WriteString("|\n")
		if i == 0 {
			for _, w := range widths {
				text.WriteString("| " + strings.Repeat("-", w) + " ")
			}
			text.WriteString("|\n")
		}
	}
	return text.String()
}

func (b *bench) goalTable() table {
	t := table{{"measure", "goal", "measured", ""}}
	for _, g := range b.goals() {
		measured := number(g.figure)
		if !math.IsNaN(g.figure) {
			measured += g.unit
		}
		t = append(t, []string{g.title, g.want(), measured, g.verdict()})
	}
	return t
}

// ackTable has one figure of every contender under every load.
func (b *bench) ackTable(figureName string) table {
	return b.byShape(func(c contender, s shape) string {
		return b.spread(figure(c, s) + "/" + figureName)
	})
}

func (b *bench) latencyTable() table {
	return b.byShape(func(c contender, s shape) string {
		return number(b.book.median(figure(c, s)+"/p50")) + " / " + number(b.book.median(figure(c, s)+"/p99"))
	})
}

func (b *bench) byShape(cell func(contender, shape) string) table {
	head := []string{""}
	for _, s := range shapes {
		head = append(head, s.title)
	}
	t := table{head}
	for _, c := range contenders {
		row := []string{c.title}
		for _, s := range shapes {
			if c.name == "sqlite" && !b.withSQLite() {
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
func (b *bench) spread(name string) string {
	figures, text := b.book[name], number(b.book.median(name))
	if len(figures) < 2 {
		return text
	}
	return fmt.Sprintf("%s ±%.0f%%", text, 50*(slices.Max(figures)-slices.Min(figures))/b.book.median(name))
}

func (b *bench) fsyncTable() table {
	t := table{{"", shapes[0].title, steady.title + " connections"}}
	for _, c := range contenders {
		if b.book[fsyncFigure(c, shapes[0])] != nil {
			t = append(t, []string{c.title, b.spread(fsyncFigure(c, shapes[0])), b.spread(fsyncFigure(c, steady))})
		}
	}
	return t
}

func (b *bench) usersTable() table {
	t := table{{"users stored", "events/s", "to none", "p99, ms", "lag at half time and at the end, s"}}
	add := func(title, name, none string) {
		if b.book[name+"/rate"] == nil {
			return
		}
		lag := ""
		if b.book[name+"/lag"] != nil {
			lag = number(b.book.median(name+"/lag-half")) + ", " + number(b.book.median(name+"/lag"))
		}
		t = append(t, []string{title, b.spread(name + "/rate"), number(b.book.ratio(name+"/rate", none+"/rate")), b.spread(name + "/p99"), lag})
	}
	for _, users := range b.sizes.Users {
		add(number(float64(users)), usersFigure("users", users), usersFigure("users", 0))
	}
	for _, kind := range []string{"/burst", "/sustained"} {
		for _, users := range []int{0, largeUsers} {
			add(number(float64(users))+strings.Replace(kind, "/", ", ", 1), usersFigure("large", users)+kind, usersFigure("large", 0)+kind)
		}
	}
	return t
}

func (b *bench) backlogTable() table {
	return table{
		{"64 connections", "events/s", "median, ms", "p99, ms", "applied a second"},
		{"while " + number(float64(b.sizes.Backlog)) + " events are applied", b.spread("backlog/busy/rate"), b.spread("backlog/busy/p50"), b.spread("backlog/busy/p99"), b.spread("backlog/beside")},
		{"after", b.spread("backlog/calm/rate"), b.spread("backlog/calm/p50"), b.spread("backlog/calm/p99"), "without any load: " + b.spread("backlog/alone")},
	}
}

func (b *bench) drainTable() table {
	t := table{{"MoEngage answers after", "users/s", "growth of memory, MiB", "CPU µs a user, agent", "sandbox"}}
	for _, latency := range latencies {
		name := drainFigure(latency)
		t = append(t, []string{latency.String(), b.spread(name + "/rate"), b.spread(name + "/memory"), b.spread(name + "/cpu"), b.spread(name + "/sandbox")})
	}
	return t
}

func (b *bench) listingTable() table {
	return table{
		{"of " + number(float64(b.sizes.Drain)) + " pending changes", ""},
		{"the first page, ms", b.spread("listing/first")},
		{"the first page of one user, ms", b.spread("listing/user")},
		{"all of them, lines a second", b.spread("listing/rate")},
		{"growth of memory by half of them, MiB", b.spread("listing/half")},
		{"growth of memory by all of them, MiB", b.spread("listing/memory")},
		{"events a second without a listing", b.spread("listing/alone/rate")},
		{"events a second beside one", b.spread("listing/beside/rate")},
		{"lines a second of that one", b.spread("listing/beside/lines")},
	}
}

func (b *bench) productTable() table {
	return table{
		{"binary " + number(b.book.median("product/size")) + " MB", "start, ms", "idle memory, MiB"},
		{"nothing stored", b.spread("product/empty/start"), b.spread("product/empty/idle")},
		{number(float64(b.sizes.State>>20)) + " MiB of state", b.spread("product/full/start"), b.spread("product/full/idle")},
	}
}
