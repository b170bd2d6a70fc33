package secret

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"personasync/agent/config"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/service"
	"personasync/store/domain"
)

// Stored says where a secret is now. It never has the secret.
type Stored struct {
	Key       string `json:"key"`
	Path      string `json:"path"`
	Encrypted bool   `json:"encrypted"`
	Values    int    `json:"values"` // the first is current, the others are still accepted
	Do        string `json:"do"`     // the command that puts it in force
	Note      string `json:"note"`   // what else happened
}

// The folders of credentials: of plain ones that only root can read, and of encrypted ones.
var (
	plainStore     = "/etc/credstore"
	encryptedStore = "/etc/credstore.encrypted"
	unitsDir       = "/etc/systemd/system"
)

// Order is a secret to store.
type Order struct {
	Config *config.Config
	Place  config.SecretPlace
	Values config.Secret
	Keep   bool // the present values stay accepted behind the new ones
	Plain  bool // never encrypt
}

// Store stores a secret. It refuses where the agent would not take it from, because two places are a fault of the next start.
func Store(ctx context.Context, o Order) (Stored, error) {
	if err := o.refused(); err != nil {
		return Stored{}, err
	}
	if o.Place.File != "" {
		return toFile(o)
	}
	unit, err := unitOf(ctx, o.Config)
	switch {
	case err != nil:
		return Stored{}, err
	case unit == nil && os.Geteuid() != 0 && service.Booted():
		return Stored{}, exit.Usage("no file is named for it, and only root may write a credential of systemd: run this with sudo, or set %s_file in %s", o.Place.Key, o.where())
	case unit == nil:
		return Stored{}, exit.Usage("no file is named for it, and no unit of systemd runs with this configuration: set %s_file = \"/path\" in %s, and run this again", o.Place.Key, o.where())
	}
	return toCredential(ctx, o, unit)
}

// refused returns why the agent would not take the secret from the place where it would be stored.
func (o *Order) refused() error {
	if o.Place.Inline == "" {
		return nil
	}
	return exit.Usage("%s is set at %s, and a secret that is given twice is refused: remove it there first", o.Place.Key, o.Place.Inline)
}

func (o *Order) where() string { return cmp.Or(o.Config.Path, "a configuration file") }

// unitOf finds the unit of the agent, if this process may change it.
func unitOf(ctx context.Context, c *config.Config) (*service.Unit, error) {
	if os.Geteuid() != 0 || !service.Booted() || c.Path == "" {
		return nil, nil
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, err
	}
	unit, err := service.Find(ctx, path, "")
	if errors.Is(err, service.ErrNoUnit) {
		return nil, nil
	}
	return unit, err
}

// toFile writes the file that the configuration names. An existing one keeps its owner.
func toFile(o Order) (Stored, error) {
	path := o.Place.File
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Stored{}, fmt.Errorf("%s_file: %w", o.Place.Key, err)
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		dir := domain.ShellWord(filepath.Dir(path))
		return Stored{}, fmt.Errorf("%s_file names %s, whose folder is missing: type install -d -m 700 -o USER %s, with the user of the agent, and run this again", o.Place.Key, path, dir)
	}
	values, err := o.values(string(old))
	if err != nil {
		return Stored{}, err
	}
	if err := replace(path, []byte(strings.Join(values, "\n")+"\n"), owner(path, o.Config.DataDir)); err != nil {
		return Stored{}, fmt.Errorf("%s_file: %w", o.Place.Key, err)
	}
	do := "kill -HUP, or systemctl reload personasync"
	if o.Place.Key == "store.url" { // a reload keeps the store
		do = "restart the agent: systemctl restart personasync"
	}
	return Stored{Key: o.Place.Key, Path: path, Values: len(values), Do: do}, nil
}

// values are the new ones, and behind them the present ones if they are to stay.
func (o *Order) values(present string) ([]string, error) {
	values := []string(o.Values)
	if !o.Keep || strings.TrimSpace(present) == "" {
		return values, nil
	}
	old, err := config.ParseSecret(o.Place.Key, present)
	if err != nil {
		return nil, exit.Usage("the present %s cannot be kept: %v. Run this without --keep, which replaces it", o.Place.Key, err)
	}
	for _, v := range old {
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	return values, nil
}

// identity is an owner and a mode.
type identity struct {
	uid, gid int // -1: as it comes
	mode     fs.FileMode
}

// owner is that of the file at path, or else of the data directory: the agent must be able to read the file.
func owner(path, dataDir string) identity {
	mode := fs.FileMode(0o600)
	info, err := os.Stat(path)
	if err == nil {
		mode = info.Mode().Perm() &^ 0o137 // no rights for others, and none to write for the group
	} else if info, err = os.Stat(dataDir); err != nil {
		return identity{-1, -1, mode}
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return identity{int(sys.Uid), int(sys.Gid), mode}
	}
	return identity{-1, -1, mode}
}

// replace writes a file by rename, so that no reader sees a part of it, and no other user sees it at any time.
func replace(path string, text []byte, who identity) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(text); err == nil && who.uid >= 0 {
		err = f.Chown(who.uid, who.gid)
	}
	if err == nil {
		err = f.Chmod(who.mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// toCredential stores the secret as a credential of the unit. An encrypted one needs a line in a drop-in of the unit, which
// replaces that of the plain one.
func toCredential(ctx context.Context, o Order, unit *service.Unit) (Stored, error) {
	name := strings.TrimSuffix(unit.Name, ".service") + "." + o.Place.Credential
	plain, encrypted := filepath.Join(plainStore, name), filepath.Join(encryptedStore, name)
	dropIn := filepath.Join(unitsDir, unit.Name+".d", "credential-"+o.Place.Credential+".conf")
	s := Stored{Key: o.Place.Key, Path: plain, Do: "systemctl restart " + unit.Name}
	present := ""
	var err error
	if o.Keep {
		present, err = presentOf(ctx, o.Place.Credential, plain, encrypted)
	}
	if err != nil {
		return s, err
	}
	values, err := o.values(present)
	if err != nil {
		return s, err
	}
	s.Values = len(values)
	text := []byte(strings.Join(values, "\n") + "\n")
	why := encrypt(ctx, o, encrypted, text)
	load := fmt.Sprintf("LoadCredential=%s:%s", o.Place.Credential, plain)
	if why == "" {
		s.Path, s.Encrypted = encrypted, true
		load = fmt.Sprintf("LoadCredentialEncrypted=%s:%s", o.Place.Credential, encrypted)
	} else {
		s.Note = "it is not encrypted: " + why
		if err := writePrivate(plain, text); err != nil {
			return s, err
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(dropIn), 0o755), replace(dropIn, []byte("# Written by `personasync secret set`.\n[Service]\n"+load+"\n"), identity{0, 0, 0o644})); err != nil {
		return s, fmt.Errorf("have %s load it: %w", unit.Name, err)
	}
	gone := plain // the other form, which nothing loads any more
	if !s.Encrypted {
		gone = encrypted
	}
	if err := os.Remove(gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	_, err = run(ctx, nil, "systemctl", "daemon-reload")
	return s, err
}

// encrypt writes the encrypted credential, or says why the host cannot.
func encrypt(ctx context.Context, o Order, path string, text []byte) (why string) {
	if o.Plain {
		return "--plain was given"
	}
	if _, err := exec.LookPath("systemd-creds"); err != nil {
		return "this host has no systemd-creds"
	}
	sealed, err := run(ctx, text, "systemd-creds", "encrypt", "--name="+o.Place.Credential, "-", "-")
	if err == nil {
		err = writePrivate(path, sealed)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// presentOf reads the present credential, encrypted or not.
func presentOf(ctx context.Context, name, plain, encrypted string) (string, error) {
	if _, err := os.Stat(encrypted); err == nil {
		text, err := run(ctx, nil, "systemd-creds", "decrypt", "--name="+name, encrypted, "-")
		return string(text), err
	}
	text, err := os.ReadFile(plain)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

func writePrivate(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, text, identity{0, 0, 0o600})
}

// run runs a command of the host. The secret is on its standard input, never among its arguments, and its error is one line.
func run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	var words bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin, c.Stderr = bytes.NewReader(stdin), &words
	out, err := c.Output()
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(words.String()), "\n")
		return nil, fmt.Errorf("%s: %w: %s", name, err, domain.ShellWord(first))
	}
	return out, nil
}
