// Package service works on the systemd service that this program runs as: it installs and removes its units without a
// package, finds the unit of an agent whatever its name, and restores a backup under it.
package service
