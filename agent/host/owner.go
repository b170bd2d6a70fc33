package host

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Denied adds to err, which a file's mode caused, who may read path. what names the file in words.
func Denied(what, path string, err error) error {
	return fmt.Errorf("%s, %s, may not be read by you: be %s: %w", what, path, WhoMay(path), err)
}

// WhoMay names the owner of path, or of the folder above it that cannot be read, and the group where the mode
// lets the group in.
func WhoMay(path string) string {
	for {
		info, err := os.Stat(path)
		if err != nil && path != filepath.Dir(path) {
			path = filepath.Dir(path)
			continue
		}
		if err != nil {
			return "its owner"
		}
		who := OwnerOf(info)
		if group := groupOf(info); group != "" && info.Mode().Perm()&0o070 != 0 && !info.IsDir() {
			who += ", or in the group " + group
		}
		return who
	}
}

// OwnerOf names the owner of a file and the command that runs as that user.
func OwnerOf(info fs.FileInfo) string {
	name := OwnerName(info)
	switch name {
	case "", "nobody", "65534": // a unit with PrivateUsers= sees every other user so
		return "its owner"
	}
	return fmt.Sprintf("%s (sudo -u %s personasync ...)", name, name)
}

// OwnerName is the name of the owner of a file, or their number; "" on a system without users.
func OwnerName(info fs.FileInfo) string {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	name := strconv.Itoa(int(sys.Uid))
	if u, err := user.LookupId(name); err == nil {
		return u.Username
	}
	return name
}

func groupOf(info fs.FileInfo) string {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	gid := strconv.Itoa(int(sys.Gid))
	if g, err := user.LookupGroupId(gid); err == nil {
		return g.Name
	}
	return gid
}
