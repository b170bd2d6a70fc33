// Package systemd is the files that make personasync a service of systemd, for the packages and for
// `personasync service`. They are written for the packages, where the program is /usr/bin/personasync.
package systemd

import (
	"embed"
	"strings"
)

//go:embed personasync.service personasync.socket personasync@.service personasync@.socket personasync.sysusers
var files embed.FS

// Units are the names of the unit files; Sysusers makes the system user they run as.
var Units = []string{"personasync.service", "personasync.socket", "personasync@.service", "personasync@.socket"}

// Sysusers is the name of the file for systemd-sysusers.
const Sysusers = "personasync.sysusers"

// packaged is where the packages put the program.
const packaged = "/usr/bin/personasync"

// File returns a file, made for a program at the path binary; "" when there is none of that name.
func File(name, binary string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(text), packaged, binary)
}
