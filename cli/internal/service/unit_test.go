package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAUnitIsFoundByTheConfigurationThatItRunsWith(t *testing.T) {
	dir := t.TempDir()
	conf, link := filepath.Join(dir, "brand.toml"), filepath.Join(dir, "link.toml")
	if err := errors.Join(os.WriteFile(conf, nil, 0o600), os.Symlink(conf, link)); err != nil {
		t.Fatal(err)
	}
	argv := func(words string) string {
		return "{ path=/usr/bin/personasync ; argv[]=" + words + " ; ignore_errors=no ; start_time=[n/a] ; pid=0 }"
	}
	for command, want := range map[string]bool{
		argv("/usr/bin/personasync run --config " + conf): true,
		argv("/opt/personasync-2 run --config=" + link):   true,
		argv("/usr/bin/personasync run --config /x.toml"): false,
		argv("/usr/bin/personasync run"):                  false, // it takes the one in /etc
		argv("/usr/bin/personasync sandbox"):              false,
		argv("/usr/bin/other run --config " + conf):       false,
		"": false,
	} {
		if got := runsAgent(command, conf); got != want {
			t.Errorf("%s: %v", command, got)
		}
	}
	if !runsAgent(argv("/usr/bin/personasync run"), configPath) {
		t.Error("a unit without --config is not that of the configuration in /etc")
	}
}

// host puts a systemctl and a systemd-run on the path that write down how they were called.
func host(t *testing.T, show string) (calls func() string) {
	t.Helper()
	dir := t.TempDir()
	script := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho \""+name+" $*\" >>"+dir+"/calls\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "show"), []byte(show), 0o600); err != nil {
		t.Fatal(err)
	}
	script("systemctl", "case $* in *socket) sed -n s/ActiveState=//p "+dir+"/show | head -1; exit;; esac; case $1 in show) cat "+dir+"/show;; start) test ! -e "+dir+"/broken || { echo 'Job for x failed.' >&2; rm "+dir+"/broken; exit 1; };; esac\n")
	script("systemd-run", "cat >/dev/null; case \"$*\" in *put-back*) echo '\"/data/previous-2\"';; *) test ! -e "+dir+"/bad || { echo 'personasync: not a whole backup' >&2; exit 1; }; echo '{\"previous\":\"/data/previous-1\",\"users\":7}';; esac\n")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("HOST_DIR", dir)
	return func() string {
		text, _ := os.ReadFile(filepath.Join(dir, "calls"))
		return string(text)
	}
}

const shownUnits = `Id=other.service
LoadState=loaded
ActiveState=active
ExecStart={ path=/usr/bin/other ; argv[]=/usr/bin/other run ; }

Id=door.service
LoadState=loaded
ActiveState=active
User=ps
Group=ps
DynamicUser=yes
StateDirectory=door
StateDirectoryMode=0700
UMask=0077
TriggeredBy=door.socket
ExecStart={ path=/usr/bin/personasync ; argv[]=/usr/bin/personasync run --config /etc/door.toml ; }

Id=personasync.service
LoadState=not-found
ActiveState=inactive
`

// order checks that the calls have the wanted ones among them, in this order.
func order(t *testing.T, calls string, want ...string) {
	t.Helper()
	rest := calls
	for _, w := range want {
		_, after, found := strings.Cut(rest, w)
		if !found {
			t.Fatalf("%q is not among, or not in its place:\n%s", w, calls)
		}
		rest = after
	}
}

func restoration(t *testing.T, ready error) (*Restoration, error) {
	u, err := Find(t.Context(), "/etc/door.toml", "")
	if err != nil {
		t.Fatal(err)
	}
	r := &Restoration{Unit: u, Config: "/etc/door.toml", Say: func(string, ...any) {}, Ready: func(context.Context) error {
		defer func() { ready = nil }()
		return ready
	}}
	_, err = r.run(t.Context())
	return r, err
}

func TestARestoreUnderAUnit(t *testing.T) {
	const stops, starts = "--property=ExecStartPre=+", "systemctl start -- door.socket door.service"
	restores := "--property=User=ps --property=Group=ps --property=DynamicUser=yes --property=StateDirectory=door --property=StateDirectoryMode=0700 --property=UMask=0077"
	t.Run("goes well", func(t *testing.T) {
		calls := host(t, shownUnits)
		if _, err := restoration(t, nil); err != nil {
			t.Fatal(err)
		}
		order(t, calls(), restores, stops, "systemctl stop door.socket door.service", "--no-block start door.socket door.service", "--config /etc/door.toml db restore - --yes --json", starts)
	})
	t.Run("the backup does not restore: the unit runs again on the data that was there", func(t *testing.T) {
		calls := host(t, shownUnits)
		must(t, os.WriteFile(filepath.Join(os.Getenv("HOST_DIR"), "bad"), nil, 0o600))
		if _, err := restoration(t, nil); err == nil || !strings.Contains(err.Error(), "the data is as it was: not a whole backup") || !strings.HasSuffix(err.Error(), "; door.service runs again") {
			t.Errorf("it says %v", err)
		}
		order(t, calls(), stops, "db restore", starts)
		if strings.Contains(calls(), "put-back") {
			t.Error("something was put back")
		}
	})
	t.Run("the unit does not start with the restored data: the previous data is put back", func(t *testing.T) {
		calls := host(t, shownUnits)
		must(t, os.WriteFile(filepath.Join(os.Getenv("HOST_DIR"), "broken"), nil, 0o600))
		if _, err := restoration(t, nil); err == nil || !strings.Contains(err.Error(), "does not become ready: Job for x failed") ||
			!strings.Contains(err.Error(), "the previous data is back, and the restored data is in /data/previous-2; door.service runs again") {
			t.Errorf("it says %v", err)
		}
		order(t, calls(), stops, "db restore", starts, stops, "--no-block", "put-back /data/previous-1", starts)
	})
	t.Run("the agent ends before it is ready", func(t *testing.T) {
		calls := host(t, shownUnits)
		if _, err := restoration(t, errors.New("door.service is failed")); err == nil || !strings.Contains(err.Error(), "the previous data is back") {
			t.Errorf("it says %v", err)
		}
		order(t, calls(), starts, stops, "put-back", starts)
	})
	t.Run("a unit that was stopped stays so", func(t *testing.T) {
		calls := host(t, strings.ReplaceAll(shownUnits, "ActiveState=active", "ActiveState=inactive"))
		if _, err := restoration(t, nil); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(calls(), "start ") {
			t.Errorf("it was started:\n%s", calls())
		}
	})
}

func TestUnitsThatCannotBeChosen(t *testing.T) {
	host(t, shownUnits+"\n"+strings.ReplaceAll(shownUnits, "door.s", "gate.s"))
	if _, err := Find(t.Context(), "/etc/door.toml", ""); err == nil || !strings.Contains(err.Error(), "door.service and gate.service both run an agent with /etc/door.toml: name one with --unit") {
		t.Errorf("two units: %v", err)
	}
	if _, err := Find(t.Context(), "/etc/none.toml", ""); !errors.Is(err, ErrNoUnit) {
		t.Errorf("no unit: %v", err)
	}
	host(t, "Id=gone.service\nLoadState=not-found\n")
	if _, err := Find(t.Context(), "/etc/door.toml", "gone.service"); !errors.Is(err, ErrNoUnit) || !strings.Contains(err.Error(), "gone.service") {
		t.Errorf("a unit that is not there: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
