package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/packaging/systemd"
)

// The folders of `service install`. A package uses those below /usr.
const (
	binaryPath   = "/usr/local/bin/personasync"
	unitsDir     = "/etc/systemd/system"
	sysusersPath = "/etc/sysusers.d/personasync.conf"
	configPath   = "/etc/personasync/agent.toml"
	serviceUser  = "personasync"
)

// Files names the files of the service, the unit first.
func Files() []string {
	return append(slices.Clone(systemd.Units), systemd.Sysusers, "agent.toml")
}

// File returns a file of the service, or "" if there is no such file.
func File(name, binary string) string {
	if name == "agent.toml" {
		return string(example())
	}
	return systemd.File(name, binary)
}

// example is the example configuration with the path of the unit's socket. A shell does not have the unit's
// $RUNTIME_DIRECTORY, and an operator's command must find the agent.
func example() []byte {
	return bytes.Replace(config.Example(), []byte(`socket     = "" `), []byte(`socket     = "`+command.ServiceSocket+`" `), 1)
}

// Install installs this program, its units, its user and a first configuration below root, and says on out what to do next.
// An existing configuration is kept. A root other than "" is the tree of an image: nothing is run there.
func Install(ctx context.Context, root string, out io.Writer) error {
	if err := mayInstall(root); err != nil {
		return err
	}
	if err := installBinary(filepath.Join(root, binaryPath)); err != nil {
		return err
	}
	for _, name := range systemd.Units {
		if err := install(filepath.Join(root, unitsDir, name), systemd.File(name, binaryPath), 0o644); err != nil {
			return err
		}
	}
	if err := install(filepath.Join(root, sysusersPath), systemd.File(systemd.Sysusers, binaryPath), 0o644); err != nil {
		return err
	}
	if err := runOnHost(ctx, root, "systemd-sysusers", sysusersPath); err != nil {
		return err
	}
	if err := installConfig(root); err != nil {
		return err
	}
	if err := runOnHost(ctx, root, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "installed. Fill in %s, let `personasync config check` read it, then\n  systemctl enable --now personasync.socket personasync.service\n"+
		"A service that runs already goes on with the old program: systemctl restart personasync\n", configPath)
	return err
}

// mayInstall refuses if the program does not run as root, or if a package is installed.
func mayInstall(root string) error {
	if root != "" {
		return nil
	}
	if os.Geteuid() != 0 {
		return exit.Usage("the service belongs to the system: run this as root")
	}
	for _, unit := range []string{"/usr/lib/systemd/system/personasync.service", "/lib/systemd/system/personasync.service"} {
		if _, err := os.Stat(unit); err == nil {
			return exit.Usage("a package has installed %s: upgrade or remove it by apt or dnf", unit)
		}
	}
	return nil
}

// install writes a file by rename, so that no reader sees a part of it.
func install(path, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	next := path + ".new"
	err := os.WriteFile(next, []byte(text), mode)
	if err == nil {
		err = os.Chmod(next, mode) // whatever the umask
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("install: %w", err), ignoreMissing(os.Remove(next)))
	}
	return nil
}

// installBinary copies this program to path, unless it is there already.
func installBinary(path string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if there, err := os.Stat(path); err == nil {
		if here, err := os.Stat(self); err == nil && os.SameFile(here, there) {
			return nil
		}
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	return install(path, string(program), 0o755)
}

// installConfig writes the configuration if there is none. Root may write it and the agent may read it.
func installConfig(root string) error {
	path := filepath.Join(root, configPath)
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := install(path, string(example()), 0o640); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.Chmod(dir, 0o750); err != nil {
		return err
	}
	if root != "" {
		return nil // the users of another tree are not those of this host
	}
	group, err := user.LookupGroup(serviceUser)
	if err != nil {
		return fmt.Errorf("find the group of the service: %w", err)
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return errors.Join(os.Chown(dir, 0, gid), os.Chown(path, 0, gid))
}

// Uninstall stops the service and removes what Install installed below root, but for configuration and data. It says so on
// out, and what systemd did not do by remark.
func Uninstall(ctx context.Context, root string, out io.Writer, remark func(format string, args ...any)) error {
	if err := mayInstall(root); err != nil {
		return err
	}
	// Only systemd knows the names of instances, so it gets the pattern.
	for _, args := range [][]string{{"stop", "personasync@*.socket", "personasync@*.service"}, {"disable", "--now", "personasync.socket", "personasync.service"}} {
		if err := runOnHost(ctx, root, "systemctl", args...); err != nil {
			remark("%v", err)
		}
	}
	paths := []string{sysusersPath, binaryPath}
	for _, name := range systemd.Units {
		paths = append(paths, filepath.Join(unitsDir, name))
	}
	for i, path := range paths {
		paths[i] = filepath.Join(root, path)
	}
	enabled, err := filepath.Glob(filepath.Join(root, unitsDir, "*.wants", "personasync@*"))
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	for _, path := range append(paths, enabled...) {
		if err := ignoreMissing(os.Remove(path)); err != nil {
			return fmt.Errorf("uninstall: %w", err)
		}
	}
	if err := runOnHost(ctx, root, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "uninstalled. The configuration in /etc/personasync, the data in /var/lib/personasync and the user personasync are kept.")
	return err
}

// runOnHost runs a command on the host. It runs none when installing into another tree.
func runOnHost(ctx context.Context, root, name string, args ...string) error {
	if root != "" {
		return nil
	}
	_, err := output(ctx, name, args...)
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
