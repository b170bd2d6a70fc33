// Package demo shows the agent at work on one machine: real HTTP in, a real agent on real files, real HTTP out to a
// sandbox.
//
// It prints only values that it read back from the agent and from the sandbox. Each expectation is checked, and the
// demo ends with an error if one fails.
package demo
