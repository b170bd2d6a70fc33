// Command personasync syncs Segment Engage audiences and computed traits to MoEngage.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules name zones, and a bare host has none

	"personasync/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal asks to stop; the next one is not caught and ends the process
	os.Exit(cli.Run(ctx, os.Args, cli.System()))
}
