package valid

import (
	"errors"
	"fmt"
	"io/fs"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"personasync/agent/config/wording"
)

// Webhook returns why address cannot be one that requests are made to, or nil. It does not repeat it.
func Webhook(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New(`must be a whole address that begins with https://, like "https://hooks.slack.com/services/…"`)
	case u.User != nil:
		return errors.New(`must not hold a user or password: write headers = {Authorization = "Basic …"}`)
	case u.Fragment != "":
		return errors.New("must end before any #")
	}
	return nil
}

// headersOfHTTP are set by the request itself.
var headersOfHTTP = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te"}

// HeaderLine returns why line cannot be a header, written "Name: value". It does not repeat the value.
func HeaderLine(line string) error {
	name, value, found := strings.Cut(line, ":")
	switch {
	case !found || name == "":
		return errors.New(`has a line without a name: write {Authorization = "Bearer …"}, or in a file one "Name: value" a line`)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }):
		return fmt.Errorf("%q is not the name of a header", wording.Shorten(name))
	case slices.Contains(headersOfHTTP, textproto.CanonicalMIMEHeaderKey(name)):
		return fmt.Errorf("%s cannot be set: every request has its own", name)
	case strings.TrimSpace(value) == "":
		return fmt.Errorf("%s has no value", name)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return fmt.Errorf("the value of %s has a control character: copy it again", name)
	}
	return nil
}

// Program returns why name cannot be run by this process, or nil. It looks as running it will.
func Program(name string) error {
	if name == "" {
		return errors.New(`must begin with a program, like ["/usr/local/bin/page-me"]`)
	}
	if strings.ContainsRune(name, '/') && !filepath.IsAbs(name) {
		return errors.New(`must begin with an absolute path, or with a name that is in $PATH`)
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder: name a program", name)
	}
	if _, err := exec.LookPath(name); err != nil {
		if strings.Contains(name, " ") {
			return fmt.Errorf(`%q is no program: write each argument by itself, like ["/bin/sh", "-c", "…"]`, wording.Shorten(name))
		}
		if failed := (*exec.Error)(nil); errors.As(err, &failed) {
			err = failed.Err
		}
		if at := (*fs.PathError)(nil); errors.As(err, &at) {
			err = at.Err
		}
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%s may not be run by this user: chmod +x it; the packaged unit of systemd needs it in ExecPaths= too (systemctl edit personasync)", name)
		}
		return fmt.Errorf("%s cannot be run (%v): install it, or correct the path", name, err)
	}
	return nil
}
