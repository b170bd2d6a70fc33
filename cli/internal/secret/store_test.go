package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"personasync/agent/config"
)

func TestAFileKeepsItsOwnerAndLosesTheRightsOfOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	o := Order{Config: config.Default(), Place: config.SecretPlace{Key: "moengage.api_key", File: path}, Values: config.Secret{"new"}}
	o.Config.DataDir = dir
	for before, want := range map[os.FileMode]os.FileMode{0: 0o600, 0o644: 0o640, 0o600: 0o600, 0o666: 0o640} {
		if _ = os.Remove(path); before != 0 {
			if err := os.WriteFile(path, []byte("old\n"), before); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, before); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Store(t.Context(), o)
		if err != nil || s.Values != 1 || s.Path != path {
			t.Fatalf("%+v, %v", s, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("from mode %o it has %v, %v", before, info.Mode(), err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("there are %v", left)
	}
	o.Place.File = filepath.Join(dir, "missing", "key")
	if _, err := Store(t.Context(), o); err == nil || strings.Contains(err.Error(), "new") {
		t.Errorf("into a folder that is missing: %v", err)
	}
}
