//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == childArgument {
		err = childMain(os.Args[2])
	} else {
		err = parentMain(os.Args[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measures lists all measures in the order of the report.
var measures = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"ack", (*bench).measureAcknowledgements},
	{"lone", (*bench).measureLone},
	{"fsyncs", (*bench).measureFsyncs},
	{"users", (*bench).measureUsers},
	{"large", (*bench).measureLarge},
	{"backlog", (*bench).measureBacklog},
	{"drain", (*bench).measureDrain},
	{"listing", (*bench).measureListing},
	{"product", (*bench).measureProduct},
}

// options are the command line options.
type options struct {
	quick, large bool
	only         []string
	reps         int
	long         int // repetitions of measures that take minutes
	during       time.Duration
	out          string
	dir          string
	profiles     string
	sizes        sizes
}

// sizes are the amounts of stored and moved data.
type sizes struct {
	Users   []int // stored while events arrive
	Backlog int   // events waiting to be applied
	Drain   int   // users with a pending change to send or list
	State   int64 // bytes of state.db at a cold start
	Commits int   // of the single client
}

var (
	fullSizes  = sizes{Users: []int{0, 1_000_000, 5_000_000}, Backlog: 1_000_000, Drain: 1_000_000, State: 2 << 30, Commits: 2000}
	quickSizes = sizes{Users: []int{0, 100_000}, Backlog: 100_000, Drain: 50_000, State: 100 << 20, Commits: 300}
)

func readOptions(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "measure `NAME,…` alone: "+measureNames())
	flags.BoolVar(&o.quick, "quick", false, "a minute, one repetition, small counts: the figures are rough")
	flags.BoolVar(&o.large, "large", false, "with 20 million users stored, too: an hour more, and 20 GB")
	flags.IntVar(&o.reps, "reps", 5, "repeat `N` times; what takes minutes, three times at most")
	seconds := flags.Float64("seconds", 4, "put load on for `N` seconds at a time")
	flags.StringVar(&o.out, "out", "", "write the report to `FILE` (default docs/BENCHMARKS.md when everything is measured)")
	flags.StringVar(&o.dir, "dir", "", "keep data in `FOLDER` (default: in the user's cache folder)")
	flags.StringVar(&o.profiles, "profile", "", "write the agent's CPU profiles to `FOLDER`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.sizes = fullSizes
	if o.quick {
		o.sizes = quickSizes
		if !given["reps"] {
			o.reps = 1
		}
		if !given["seconds"] {
			*seconds = 0.7
		}
	}
	o.long = min(o.reps, 3)
	o.during = time.Duration(*seconds * float64(time.Second))
	if o.reps < 1 || o.during < 100*time.Millisecond {
		return o, errors.New("-reps is at least 1, -seconds at least 0.1")
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, name := range o.only {
		if !strings.Contains(","+measureNames()+",", ","+name+",") {
			return o, fmt.Errorf("-only %s: there is %s", name, measureNames())
		}
	}
	if o.out == "" && !o.quick && o.only == nil {
		o.out = "docs/BENCHMARKS.md"
	}
	return o, nil
}

var measureNames = func() string { return "" }

func init() { // not an initializer: measures refers to methods that refer to options
	names := make([]string, len(measures))
	for i, m := range measures {
		names[i] = m.name
	}
	list := strings.Join(names, ",")
	measureNames = func() string { return list }
}

func parentMain(args []string) error {
	o, err := readOptions(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ctrl-C ends this process at once; the children notice and end too
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(b.run(ctx), b.close())
}

func (b *bench) run(ctx context.Context) error {
	for _, m := range measures {
		if b.only != nil && !slices.Contains(b.only, m.name) {
			continue
		}
		b.done = append(b.done, m.name)
		if err := m.run(b, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	return b.report()
}
