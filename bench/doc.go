//go:build linux

// Command bench compares the agent with alternative designs, side by side in one run:
//
//	go run -C bench .                      everything, about 25 minutes on two cores; writes docs/BENCHMARKS.md
//	go run -C bench . -quick -only ack     a first look in half a minute
//	go run -C bench . -large               also with 20 million stored users
//
// It is a module of its own, so that its dependencies are not in the product's go.mod.
//
// # Processes
//
// Servers are child processes that re-execute this program. So client and server share only the loopback
// interface and the cores, as in production. A child serves until its standard input closes, so it cannot
// outlive the run. Package contender lists them.
//
// Contenders take turns within a repetition (A B C, A B C, …), so that a slow minute of the machine affects all
// of them. A figure is the median over the repetitions. A ratio is the median of the ratios within each
// repetition.
//
// # Files
//
// Data is stored in the user's cache directory, because the temporary directory is often in memory, where fsync
// costs nothing. A run removes its data even when interrupted. The next run removes data of a killed one.
// Seeded stores are kept between runs while the source of package store is unchanged.
package main
