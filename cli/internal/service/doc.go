// Package service works on the systemd service that this program runs as: it installs and removes its units without a
// package.
package service
