// Package secret stores a secret where the agent of a configuration takes it from: in the file that the configuration names,
// or as a credential of systemd, encrypted where the host can.
package secret
