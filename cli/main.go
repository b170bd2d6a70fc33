package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Main runs the command line of this process and returns its exit code. The first SIGINT or SIGTERM
// asks it to stop; the next one is not caught and ends the process.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// A reader that has gone is an error of the write, EPIPE: it ends a listing with success, and must
	// not end an agent whose log nobody reads any more. Uncaught, the signal would end both.
	signal.Ignore(syscall.SIGPIPE)
	return Run(ctx, os.Args, System())
}
