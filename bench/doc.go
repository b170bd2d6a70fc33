//go:build linux

// Command bench measures the agent beside what else could have been built, side by side in one run:
//
//	go run -C bench .                      everything, about 25 minutes on two cores; writes docs/BENCHMARKS.md
//	go run -C bench . -quick -only ack     a first look in half a minute
//	go run -C bench . -large               with 20 million users stored, too
//
// It is a module of its own, so that the product's go.mod lists only what the product needs.
//
// # Who runs
//
// Servers are child processes, started by re-executing this program, so that client and server share
// nothing but the loopback interface and the cores, as in life. A child serves until its standard
// input closes: it cannot outlive the run. See [contenders] for who they are.
//
// Contenders take turns within a repetition (A B C, A B C, …), so that a slow minute of the machine
// hits all of them. Figures are medians over the repetitions; a ratio is the median of the ratios
// within each repetition.
//
// # What it leaves
//
// Data lies under the user's cache folder, because the temporary folder is often memory, where fsync
// costs nothing. What a run makes there it removes, interrupted or not; what a killed run left, the
// next one removes. Seeded stores are kept there from run to run, as long as the source of package
// store is the same.
package main
