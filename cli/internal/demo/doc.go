// Package demo shows the main job on one machine: real HTTP in, a real agent on real files, real HTTP out to a
// sandbox.
//
// What it prints it has read back from the agent and from the sandbox. Each promise that it makes is checked: one that
// does not come true ends it with an error.
package demo
