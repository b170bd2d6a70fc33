package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/packaging/systemd"
)

func serviceCommand(env *command.Env) *urfave.Command {
	root := &urfave.StringFlag{Name: "root", Usage: "install into the tree at `DIR`, as for an image: write files and run nothing"}
	return &urfave.Command{
		Name:  "service",
		Usage: "install this program as a systemd service, without a package",
		Subcommands: []*urfave.Command{
			{
				Name:  "install",
				Usage: "install this program, its units, its user and a first configuration",
				Description: "Needs root. An existing configuration is kept, and nothing is started. To upgrade, run it again with\n" +
					"the newer program.\n\n" +
					"Example: sudo ./personasync service install",
				Flags:  []urfave.Flag{root},
				Action: env.Action(serviceInstall),
			},
			{
				Name:        "uninstall",
				Usage:       "stop the service and remove the installed files; configuration and data stay",
				Description: "Example: sudo personasync service uninstall",
				Flags:       []urfave.Flag{root},
				Action:      env.Action(serviceUninstall),
			},
			{
				Name:      "print",
				Usage:     "print the unit, or another file of the service",
				ArgsUsage: "[FILE]",
				Description: "FILE is personasync.service unless given, or one of\n   " + strings.Join(serviceFiles()[1:], "\n   ") + "\n\n" +
					"Example: personasync service print personasync.socket",
				Flags:  []urfave.Flag{command.JSONFlag()},
				Action: env.Action(servicePrint),
			},
		},
	}
}

// The folders of `service install`. A package uses those below /usr.
const (
	serviceBinary   = "/usr/local/bin/personasync"
	serviceUnits    = "/etc/systemd/system"
	serviceSysusers = "/etc/sysusers.d/personasync.conf"
	serviceConfig   = "/etc/personasync/agent.toml"
	serviceUser     = "personasync"
)

func serviceFiles() []string {
	return append(slices.Clone(systemd.Units), systemd.Sysusers, "agent.toml")
}

// serviceFile returns a file of the service, or "" if there is no such file.
func serviceFile(name, binary string) string {
	if name == "agent.toml" {
		return string(serviceExample())
	}
	return systemd.File(name, binary)
}

// serviceExample is the example configuration with the path of the unit's socket. A shell does not have the unit's
// $RUNTIME_DIRECTORY, and an operator's command must find the agent.
func serviceExample() []byte {
	return bytes.Replace(config.Example(), []byte(`socket     = "" `), []byte(`socket     = "`+command.ServiceSocket+`" `), 1)
}

func servicePrint(env *command.Env, c *urfave.Context) error {
	name := serviceFiles()[0]
	if c.NArg() > 0 {
		name = c.Args().First()
	}
	if c.NArg() > 1 {
		return command.Arguments(c, "FILE")
	}
	text := serviceFile(name, "/usr/bin/personasync")
	if text == "" {
		return exit.Usage("there is no file %q of the service: there are %s", name, strings.Join(serviceFiles(), ", "))
	}
	if c.Bool("json") {
		return term.PrintJSON(env.Out, map[string]string{"name": name, "text": text})
	}
	_, err := io.WriteString(env.Out, text)
	return err
}

func serviceInstall(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	root := c.String("root")
	if err := mayInstall(root); err != nil {
		return err
	}
	if err := installBinary(filepath.Join(root, serviceBinary)); err != nil {
		return err
	}
	for _, name := range systemd.Units {
		if err := install(filepath.Join(root, serviceUnits, name), systemd.File(name, serviceBinary), 0o644); err != nil {
			return err
		}
	}
	if err := install(filepath.Join(root, serviceSysusers), systemd.File(systemd.Sysusers, serviceBinary), 0o644); err != nil {
		return err
	}
	if err := runOnHost(c, root, "systemd-sysusers", serviceSysusers); err != nil {
		return err
	}
	if err := installConfig(root); err != nil {
		return err
	}
	if err := runOnHost(c, root, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Out, "installed. Fill in %s, let `personasync config check` read it, then\n  systemctl enable --now personasync.socket personasync.service\n"+
		"A service that runs already goes on with the old program: systemctl restart personasync\n", serviceConfig)
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
	path := filepath.Join(root, serviceConfig)
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := install(path, string(serviceExample()), 0o640); err != nil {
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

func serviceUninstall(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c); err != nil {
		return err
	}
	root := c.String("root")
	if err := mayInstall(root); err != nil {
		return err
	}
	// Only systemd knows the names of instances, so it gets the pattern.
	for _, args := range [][]string{{"stop", "personasync@*.socket", "personasync@*.service"}, {"disable", "--now", "personasync.socket", "personasync.service"}} {
		if err := runOnHost(c, root, "systemctl", args...); err != nil {
			env.Remark("%v", err)
		}
	}
	paths := []string{serviceSysusers, serviceBinary}
	for _, name := range systemd.Units {
		paths = append(paths, filepath.Join(serviceUnits, name))
	}
	for i, path := range paths {
		paths[i] = filepath.Join(root, path)
	}
	enabled, err := filepath.Glob(filepath.Join(root, serviceUnits, "*.wants", "personasync@*"))
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	for _, path := range append(paths, enabled...) {
		if err := ignoreMissing(os.Remove(path)); err != nil {
			return fmt.Errorf("uninstall: %w", err)
		}
	}
	if err := runOnHost(c, root, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Out, "uninstalled. The configuration in /etc/personasync, the data in /var/lib/personasync and the user personasync are kept.")
	return err
}

// system runs a command on the host. It runs none when installing into another tree.
func runOnHost(c *urfave.Context, root, name string, args ...string) error {
	if root != "" {
		return nil
	}
	out, err := exec.CommandContext(c.Context, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
