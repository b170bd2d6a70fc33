package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestThePlaceOfASecret(t *testing.T) {
	path := writeFile(t, "key", "x\n")
	c := mustRead(t, lines("[moengage]", `api_key_file = "`+path+`"`, "[notify]", `url = "https://example.com/hook"`), "PERSONASYNC_INGEST_SHARED_SECRET=hush")
	for name, want := range map[string]SecretPlace{
		"moengage_api_key":      {Key: "moengage.api_key", Credential: "moengage_api_key", File: path},
		"moengage.api_key":      {Key: "moengage.api_key", Credential: "moengage_api_key", File: path},
		"segment_bearer_token":  {Key: "ingest.bearer_token", Credential: "segment_bearer_token"},
		"segment_shared_secret": {Key: "ingest.shared_secret", Credential: "segment_shared_secret", Inline: "env PERSONASYNC_INGEST_SHARED_SECRET"},
		"notify_url":            {Key: "notify.url", Credential: "notify_url", Inline: "agent.toml:4"},
	} {
		got, err := c.SecretPlace(name)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	for _, name := range []string{"moengage_apikey", "data_dir", ""} {
		if _, err := c.SecretPlace(name); err == nil || !strings.Contains(err.Error(), "there are store_url, segment_shared_secret, segment_bearer_token,") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := c.SecretPlace("moengage_apikey"); !strings.Contains(err.Error(), "moengage_api_key?") && !strings.Contains(err.Error(), "mean moengage_api_key") {
		t.Errorf("the near one is not suggested: %v", err)
	}
}

func TestTextThatCanBeASecret(t *testing.T) {
	for _, c := range []struct{ key, text, why string }{
		{"moengage.api_key", "abc\n", ""},
		{"moengage.api_key", "\ufeffabc\r\n\r\nold\r\n", ""},
		{"moengage.api_key", "", "it is empty"},
		{"moengage.api_key", " \n", "it is empty"},
		{"moengage.api_key", "marked secret", "it has a space or a control character"},
		{"moengage.api_key", "fine\nmarked secret", "line 2 has a space"},
		{"moengage.api_key", "marked\x1bsecret", "it has a space or a control character"},
		{"moengage.api_key", "a\x00b", "it is not text"},
		{"moengage.api_key", `"marked"`, "it is in quotes"},
		{"moengage.api_key", strings.Repeat("marked", 20_000), "too many for a secret"},
		{"notify.headers", "Authorization: Bearer abc", ""},
		{"notify.headers", "marked", "a line without a name"},
		{"notify.url", "https://hooks.example.com/x", ""},
		{"notify.url", "ftp://marked", "it must be"},
	} {
		_, err := ParseSecret(c.key, c.text)
		switch {
		case (err == nil) != (c.why == ""), err != nil && !strings.Contains(err.Error(), c.why):
			t.Errorf("%s %q: %v, want %q", c.key, c.text, err, c.why)
		case err != nil && strings.Contains(err.Error(), "marked"):
			t.Errorf("%s: the secret is in %q", c.key, err)
		}
	}
}
