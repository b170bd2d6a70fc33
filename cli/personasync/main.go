// Command personasync syncs Segment Engage audiences and computed traits to MoEngage.
package main

import (
	"os"
	_ "time/tzdata" // schedules name zones, and a bare host has none

	"personasync/cli"
)

func main() { os.Exit(cli.Main(cli.Again)) }
