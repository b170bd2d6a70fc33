package cli

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// Main runs the command line of this process and returns its exit code. The first SIGINT or SIGTERM
// asks it to stop; the next one is not caught and ends the process.
// again is how the program starts itself once more, see Streams; nil in tests.
func Main(again func(ctx context.Context, args ...string) *exec.Cmd) int {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // first: uncaught it ends the process, and a unit counts that as a clean end
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// If the reader of the output has ended, the write returns EPIPE. Then a listing ends with success, and an agent
	// must continue without a reader of its log. Uncaught, the signal SIGPIPE would end both.
	signal.Ignore(syscall.SIGPIPE)
	s := System()
	s.Again, s.Hangup = again, hangup
	return Run(ctx, os.Args, s)
}
