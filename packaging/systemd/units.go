// Package systemd embeds the unit files of the packages and of `personasync service`. They are written for the
// packages, where the program is /usr/bin/personasync.
package systemd

import (
	"embed"
	"strings"
)

//go:embed personasync.service personasync.socket personasync@.service personasync@.socket personasync.sysusers
var files embed.FS

// Units are the names of the unit files.
var Units = []string{"personasync.service", "personasync.socket", "personasync@.service", "personasync@.socket"}

// Sysusers is the name of the file with which systemd-sysusers creates the agent's user.
const Sysusers = "personasync.sysusers"

// packaged is the path of the program in the packages.
const packaged = "/usr/bin/personasync"

// File returns the file with this name, adapted to a program at the path binary, or "" if there is none.
func File(name, binary string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(text), packaged, binary)
}
