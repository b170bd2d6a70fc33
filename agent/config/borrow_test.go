package config

import (
	"strings"
	"testing"
)

// Borrow accepts only a credential, or the very file that c names. A secret from elsewhere will be missing at
// the agent's next start.
func TestBorrowOnlyReplacesSecretsThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		environ []string
		theirs  Setting
		want    string
	}{
		"a credential":                  {nil, Setting{Key: "moengage.api_key", Value: "(set, 1 value)", Origin: "credential moengage_api_key"}, "moengage.api_key (credential moengage_api_key)"},
		"none":                          {nil, Setting{Key: "moengage.api_key", Value: "(not set)", Origin: "default"}, ""},
		"the file":                      {nil, Setting{Key: "moengage.api_key", Value: "(set, 1 value)", Origin: "agent.toml:3"}, ""},
		"its environment":               {nil, Setting{Key: "moengage.api_key", Value: "(set, 1 value)", Origin: "env PERSONASYNC_MOENGAGE_API_KEY"}, ""},
		"the same key file":             {[]string{"PERSONASYNC_MOENGAGE_API_KEY_FILE=/k"}, Setting{Key: "moengage.api_key", Value: "(set, 1 value)", Origin: "file /k"}, "moengage.api_key (file /k)"},
		"another key file":              {[]string{"PERSONASYNC_MOENGAGE_API_KEY_FILE=/k"}, Setting{Key: "moengage.api_key", Value: "(set, 1 value)", Origin: "file /other"}, ""},
		"a secret that is set here too": {[]string{"PERSONASYNC_MOENGAGE_API_KEY=k"}, Setting{Key: "moengage.api_key", Value: "(set, 1 value)", Origin: "credential moengage_api_key"}, ""},
		"a key that is not secret":      {nil, Setting{Key: "moengage.workspace_id", Value: "\"WS\"", Origin: "credential moengage_api_key"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := LoadWithoutSecrets("", c.environ)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(conf.Borrow([]Setting{c.theirs}), ", "); got != c.want {
				t.Errorf("borrowed %q, not %q", got, c.want)
			}
		})
	}
}

// A secret that only another user may read is not a mistake in the configuration.
func TestOnlyUnreadTellsSecretsOfAnotherUser(t *testing.T) {
	denied, other := Fault{denied: true}, Fault{}
	for _, c := range []struct {
		faults []Fault
		want   bool
	}{{nil, false}, {[]Fault{denied}, true}, {[]Fault{denied, denied}, true}, {[]Fault{denied, other}, false}, {[]Fault{other}, false}} {
		if got := (&Faults{All: c.faults}).OnlyUnread(); got != c.want {
			t.Errorf("%+v: %v", c.faults, got)
		}
	}
}

func TestUnreadListsSecretsThatWereNotBorrowed(t *testing.T) {
	c, err := LoadWithoutSecrets("", []string{
		"PERSONASYNC_MOENGAGE_API_KEY_FILE=/k", "PERSONASYNC_INGEST_WRITE_KEYS_FILE=/w", "PERSONASYNC_INGEST_SHARED_SECRET=s",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Unread(), ", "); got != "ingest.write_keys, moengage.api_key" {
		t.Errorf("unread %s", got)
	}
	c.Borrow([]Setting{{Key: "moengage.api_key", Value: "(set, 1 value)", Origin: "file /k"}})
	if got := strings.Join(c.Unread(), ", "); got != "ingest.write_keys" {
		t.Errorf("unread %s after one was borrowed", got)
	}
	for _, s := range c.Effective() {
		if s.Key == "moengage.api_key" && s.Origin != "file /k" || s.Key == "ingest.write_keys" && s.Value != "(not read)" {
			t.Errorf("%+v", s)
		}
	}
}
