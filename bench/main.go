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

	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
	"personasync/bench/internal/seed"
)

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == child.Argument {
		err = child.Main(os.Args[2], roles)
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

// roles are the tasks of children.
var roles = map[string]child.Role{
	"serve":   contender.Run,
	"sandbox": serveSandbox,
	"seed":    seed.Lay,
	"commits": timeCommits,
	"list":    listOnAndOn,
	"engine":  workOnEngine,
}

// measures lists all measures by name.
var measures = map[string]func(context.Context, *bench) error{
	"ack":      measureAcknowledgements,
	"lone":     measureLone,
	"fsyncs":   measureFsyncs,
	"users":    measureUsers,
	"large":    measureLarge,
	"backlog":  measureBacklog,
	"backup":   measureBackup,
	"drain":    measureDrain,
	"delay":    measureDelay,
	"listing":  measureListing,
	"product":  measureProduct,
	"postgres": measurePostgres,
}

var (
	fullSizes  = sizes{Users: []int{0, 1_000_000, 5_000_000}, Backlog: 1_000_000, Drain: 1_000_000, State: 2 << 30, Commits: 2000, Both: 10 * time.Minute}
	quickSizes = sizes{Users: []int{0, 100_000}, Backlog: 100_000, Drain: 50_000, State: 100 << 20, Commits: 300, Both: 30 * time.Second}
)

// readOptions parses the command line. A quick run changes the defaults, but not values that are given.
func readOptions(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "measure `NAME,…` alone: "+strings.Join(measureNames, ","))
	flags.BoolVar(&o.quick, "quick", false, "small counts and one repetition, about a minute; the figures are rough")
	flags.BoolVar(&o.large, "large", false, "also measure with 20 million stored users: an hour more, and 20 GB")
	flags.IntVar(&o.reps, "reps", 5, "repeat `N` times; measures that take minutes at most three times")
	seconds := flags.Float64("seconds", 4, "apply each load for `N` seconds")
	minutes := flags.Float64("minutes", 10, "receive and send at once for `N` minutes, with -quick 0.5")
	flags.StringVar(&o.out, "out", "", "write the report to `FILE` (default docs/BENCHMARKS.md if everything is measured)")
	flags.StringVar(&o.dir, "dir", "", "keep data in `FOLDER` (default: in the user's cache directory)")
	flags.StringVar(&o.postgres, "postgres", "", "compare with a store in PostgreSQL at `URL`, in schemas that the run makes and drops; it takes psql")
	flags.StringVar(&o.profiles, "profile", "", "write the agent's CPU profiles to `FOLDER`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not a flag", flags.Arg(0))
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
	if given["minutes"] {
		o.sizes.Both = time.Duration(*minutes * float64(time.Minute))
	}
	o.long = min(o.reps, 3)
	o.during = time.Duration(*seconds * float64(time.Second))
	if o.reps < 1 || o.during < 100*time.Millisecond || o.sizes.Both < time.Second {
		return o, errors.New("-reps must be at least 1, -seconds at least 0.1 and -minutes at least 0.02")
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(measureNames, name) {
			return o, fmt.Errorf("-only %s: the measures are %s", name, strings.Join(measureNames, ","))
		}
	}
	if o.out == "" && !o.quick && o.only == nil {
		o.out = "docs/BENCHMARKS.md"
	}
	return o, nil
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
	return errors.Join(run(ctx, b), b.close())
}

// run measures everything that was asked for, and reports.
func run(ctx context.Context, b *bench) error {
	for _, name := range measureNames {
		if b.only != nil && !slices.Contains(b.only, name) {
			continue
		}
		b.done = append(b.done, name)
		if err := measures[name](ctx, b); err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
	}
	return report(b)
}
