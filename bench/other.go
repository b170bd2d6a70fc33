//go:build !linux

// Command bench measures the agent. It reads Linux's /proc and waits with Linux's epoll.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench runs on Linux only")
	os.Exit(1)
}
