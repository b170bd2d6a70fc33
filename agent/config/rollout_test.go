package config_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"personasync/agent/config"
	"personasync/store/domain"
)

// listOf writes an agent.toml beside a list of users, and loads it.
func listOf(t *testing.T, list []byte, toml string) (*config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	if list != nil {
		if err := os.WriteFile(filepath.Join(dir, "pilot.csv"), list, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pilot.txt"), list, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(path, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, nil)
}

const piloted = "[[computation]]\nkey = \"vip\"\nonly_users_file = \"pilot.txt\"\n"

func utf16LE(text string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

func TestOnlyUsersFileIsReadInEveryForm(t *testing.T) {
	for name, list := range map[string][]byte{
		"one id a line":     []byte("ann\nbob\n"),
		"of Windows":        []byte("\ufeffann\r\nbob\r\n"),
		"UTF-16":            utf16LE("ann\r\nbob"),
		"a title":           []byte("user_id\nann\nbob\n"),
		"CSV with a title":  []byte("name,user_id\nAnn,ann\nBob,bob\n"),
		"repeated and open": []byte("bob\n\nann\nann\n bob "),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := listOf(t, list, piloted)
			if err != nil {
				t.Fatal(err)
			}
			rules := c.Rules()
			p := rules.For("vip", "aud_1")
			if !p.Reaches("ann") || !p.Reaches("bob") || p.Reaches("cid") || p.Listed.Len() != 2 {
				t.Errorf("ann %v, bob %v, cid %v, %d users", p.Reaches("ann"), p.Reaches("bob"), p.Reaches("cid"), p.Listed.Len())
			}
			if other := rules.For("dormant", "aud_2"); other.Rollout != nil {
				t.Error("a computation without the key is rolled out")
			}
		})
	}
}

func TestOnlyUsersFileThatCannotBeUsedIsAFaultOfItsLine(t *testing.T) {
	many := new(bytes.Buffer)
	for i := range 100_001 {
		fmt.Fprintln(many, "user", i)
	}
	for _, tc := range []struct {
		name string
		list []byte
		want string
	}{
		{"missing", nil, "cannot be read: no such file"},
		{"empty", []byte("\ufeff\r\n\n"), "pilot.txt names no user: write one id a line, or set share = 0"},
		{"JSON", []byte(`["ann"]`), "this is JSON: write the ids one a line"},
		{"made by a spreadsheet", []byte("ann\n1E+10\n"), "pilot.txt, line 2"},
		{"too long", many.Bytes(), "names more than 100000 users: a list is for a pilot; for more users set share"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := listOf(t, tc.list, piloted)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "computation.vip.only_users_file") || !strings.Contains(err.Error(), "agent.toml:3") {
				t.Errorf("got %v, want %q at line 3", err, tc.want)
			}
		})
	}
	if _, err := listOf(t, nil, strings.Replace(piloted, "pilot.txt", ".", 1)); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder: %v", err)
	}
}

func TestRolloutOfDefaultsIsInherited(t *testing.T) {
	c, err := listOf(t, []byte("user_id\nann\n"), "[defaults]\nonly_users_file = \"pilot.csv\"\nholdout = 0.1\n"+piloted+"share = 0.05\nholdout = 0\n")
	if err != nil {
		t.Fatal(err)
	}
	rules := c.Rules()
	of := func(key string) domain.Rollout { p := rules.For(key, ""); return *p.Rollout }
	dir := filepath.Dir(c.Path)
	if got, want := of("other"), (domain.Rollout{Share: 1, Holdout: 0.1, List: filepath.Join(dir, "pilot.csv")}); got != want {
		t.Errorf("defaults: %+v, want %+v", got, want)
	}
	if got, want := of("vip"), (domain.Rollout{Share: 0.05, List: filepath.Join(dir, "pilot.txt")}); got != want {
		t.Errorf("vip: %+v, want %+v", got, want)
	}
	if len(rules.Lists) != 2 {
		t.Errorf("%d lists", len(rules.Lists))
	}
	if p := config.Default().Rules().Defaults; p.Rollout != nil {
		t.Errorf("the defaults roll out: %+v", p.Rollout)
	}
}

func TestShareAndHoldoutAreShares(t *testing.T) {
	for _, bad := range []string{"share = 1.5", "share = -0.1", "share = \"5 %\"", "share = nan", "holdout = 2", "holdout = true"} {
		if _, err := listOf(t, nil, "[defaults]\n"+bad+"\n"); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	c, err := listOf(t, nil, "[defaults]\nshare = 0.95\nholdout = 0.7\n")
	if err != nil {
		t.Fatal(err)
	}
	want := "defaults.share is 0.95 and defaults.holdout is 0.7, together more than all users: the holdout comes first, so that at most 0.3 of the users are told"
	if got := strings.Join(c.Warnings(), "\n"); !strings.Contains(got, want) {
		t.Errorf("no warning of %q in:\n%s", want, got)
	}
}
