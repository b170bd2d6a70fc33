package valid

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// check reports an error that differs from want, of which it must contain a part. "" means no error.
func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func TestNamesAtMoEngage(t *testing.T) {
	long := strings.Repeat("é", 201)
	for _, c := range []struct{ name, attribute, event, cohort string }{
		{"high_value", "", "", ""},
		{strings.Repeat("é", 200), "", "", ""},
		{long, "keeps 200 characters", "keeps 200 characters", "keeps 200 characters"},
		{"", "must not be empty", "must not be empty", "must have a letter"},
		{" ", "must not be empty", "must not be empty", "must have a letter"},
		{"id", "reserved", "reserved", ""},
		{"_id", "reserved", "reserved", ""},
		{"Moe_x", "begin with moe_", "begin with moe_", ""},
		{"moe_unsubscribe", "", "begin with moe_", ""},
		{"status", "reserved", "", ""},
		{"USER_ATTRIBUTE_X", "reserved", "", ""},
		{"seg:gold", "", "", `write "seg_gold"`},
		{" gold", "", "", `write "gold"`},
	} {
		check(t, "attribute "+c.name, AttributeName(c.name), c.attribute)
		check(t, "event "+c.name, EventName(c.name), c.event)
		check(t, "cohort "+c.name, CohortName(c.name), c.cohort)
	}
	check(t, "all traits", ForwardTraits([]string{"*"}), "")
	check(t, "all traits and one", ForwardTraits([]string{"*", "plan"}), "stands alone")
	check(t, "two traits", ForwardTraits([]string{"plan", "city"}), "")
	check(t, "a reserved trait", ForwardTraits([]string{"plan", "status"}), `"status" cannot be an attribute`)
	for name, want := range map[string]string{"Audience Entered": "", "a$b.$c": "$.", "né😀": "😀"} {
		if got := OddInEvent(name); got != want {
			t.Errorf("OddInEvent(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		address string
		local   bool
		err     string
	}{
		{"127.0.0.1:8480", true, ""},
		{"localhost:0", true, ""},
		{"[::1]:65535", true, ""},
		{":8480", false, ""},
		{"10.1.2.3:80", false, ""},
		{"example.com:80", false, ""},
		{"unix:/run/a.sock", true, ""},
		{"unix:", true, "must name a socket"},
		{"unix:/" + strings.Repeat("a", 106), true, ""},
		{"unix:/" + strings.Repeat("a", 107), true, "may have 107 bytes, this one has 108"},
		{"127.0.0.1", false, "must be host:port"},
		{"127.0.0.1:65536", false, "is not a port"},
		{"127.0.0.1:080", false, "is not a port"},
		{"127.0.0.1:http", false, "is not a port"},
		{"a b:80", false, "is not a host name"},
	} {
		local, err := ListenAddress(c.address)
		check(t, c.address, err, c.err)
		if local != c.local {
			t.Errorf("%s: local is %v", c.address, local)
		}
	}
}

func TestSameAddress(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"127.0.0.1:80", "localhost:80", true},
		{"127.0.0.1:80", ":80", true},
		{"0.0.0.0:80", "10.0.0.1:80", true},
		{"[::]:80", "127.0.0.1:80", true},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", true},
		{"a.example:80", "a.example:80", true},
		{"a.example:80", "b.example:80", false},
		{"127.0.0.1:0", "127.0.0.1:0", false}, // each gets a port of its own
	} {
		if SameAddress(c.a, c.b) != c.same || SameAddress(c.b, c.a) != c.same {
			t.Errorf("%s and %s: not %v", c.a, c.b, c.same)
		}
	}
}

func TestSamePath(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{dir + "/a", dir + "//./a", true},
		{dir + "/a", link + "/a", true},
		{dir + "/a", link + "/b", false},
		{dir + "/a", dir + "/missing/a", false},
		{"/missing/a", "/missing/../missing/a", true},
	} {
		if SamePath(c.a, c.b) != c.same {
			t.Errorf("%s and %s: not %v", c.a, c.b, c.same)
		}
	}
}

func TestCronSpec(t *testing.T) {
	check(t, "every five minutes", CronSpec("*/5 * * * *", time.UTC), "")
	check(t, "an empty spec", CronSpec("", time.UTC), " ")
	check(t, "three fields", CronSpec("* * *", time.UTC), "expected exactly 5 fields")
	check(t, "an hour that does not exist", CronSpec("0 24 * * *", time.UTC), "24")
}
