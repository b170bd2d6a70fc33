package config

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"personasync/agent/config/internal/field"
)

const hidden = "hunter2"

// A configuration with secrets goes through everything that turns values into text.
func TestSecretNeverPrints(t *testing.T) {
	c := Default()
	for _, f := range field.Of(c, "") {
		if s, ok := f.Ptr.(*Secret); ok {
			*s = Secret{hidden + "-new", hidden + "-old"}
		}
	}
	secret := c.Ingest.SharedSecret
	inside := struct {
		Secret  Secret
		Pointer *Secret
		Slice   []Secret
		Map     map[string]Secret
	}{secret, &secret, []Secret{secret}, map[string]Secret{"x": secret}}

	printed := map[string]string{"String": secret.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v", "%10.3v"} {
		for name, v := range map[string]any{"secret": secret, "pointer": &secret, "struct": inside, "config": c, "config value": *c} {
			printed[verb+" of a "+name] = fmt.Sprintf(verb, v)
		}
	}
	printed["Println"] = fmt.Sprintln(secret, c.Ingest, []any{secret})
	for name, encode := range map[string]func(any) ([]byte, error){"JSON": json.Marshal, "TOML": toml.Marshal, "XML": xml.Marshal} {
		for what, v := range map[string]any{"a section": c.Ingest, "a pointer": &c.MoEngage} {
			text, err := encode(v)
			if err != nil {
				t.Errorf("%s of %s: %v", name, what, err)
			}
			printed[name+" of "+what] = string(text)
		}
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).With("with", secret).Info("x", "secret", secret, "pointer", &secret, "config", c, "value", *c, slog.Group("g", "s", secret))
	}
	printed["slog"] = log.String()
	for _, s := range c.Effective() {
		printed["Effective "+s.Key] = s.Value + s.Origin
	}
	printed["Warnings"] = strings.Join(c.Warnings(), "\n")

	for how, text := range printed {
		hex := fmt.Sprintf("%x", hidden)
		if strings.Contains(text, hidden) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s tells the secret: %s", how, text)
		}
	}
	if !strings.Contains(printed["%+v of a config"], "(set, 2 values)") || !strings.Contains(printed["slog"], "(set, 2 values)") {
		t.Error("the mask should say how many values there are")
	}
}

func TestEverySecretIsKnownToASearch(t *testing.T) {
	c, want := Default(), []string{"pass/word", "other"}
	for _, f := range field.Of(c, "") {
		if s, ok := f.Ptr.(*Secret); ok {
			*s = Secret{f.Key}
		}
	}
	c.Store.URL = Secret{"postgres://u:pass%2Fword@h/db?password=other"}
	for _, f := range field.Of(c, "") {
		if s, ok := f.Ptr.(*Secret); ok {
			want = append(want, s.Current())
		}
	}
	got := c.Secrets()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSecretStaysOutOfFaults(t *testing.T) {
	for name, doc := range map[string]string{
		"wrong type":       lines("[ingest]", `shared_secret = { value = "hunter2" }`),
		"list of lists":    lines("[ingest]", `write_keys = [["hunter2"]]`),
		"empty beside":     lines("[ingest]", `write_keys = ["hunter2", ""]`),
		"given twice":      lines("[ingest]", `bearer_token = "hunter2"`, `bearer_token_file = "x"`),
		"unknown key":      lines("[ingest]", `shared_secert = "hunter2"`),
		"unknown section":  lines("[ingset]", `shared_secret = "hunter2"`),
		"no quotes":        lines("[moengage]", "api_key = hunter2"),
		"yaml":             lines("[moengage]", "api_key: hunter2"),
		"one line":         lines(`ingest = { shared_secret = "hunter2 }`),
		"two on a line":    lines("[log]", `level = "info" shared_secret = "hunter2"`),
		"no assignment":    lines("hunter2"),
		"in a list":        lines("[ingest]", "write_keys = [", `  "a"`, `  "hunter2"`, "]"),
		"multi-line value": lines("[moengage]", `api_key = """`, "hunter2 \\q", `"""`),
		"padded value":     lines("[moengage]", `api_key = """`, "hunter2== \\q", `"""`),
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range faultsOf(t, doc) {
				if strings.Contains(f, hidden) {
					t.Errorf("the fault tells the secret: %s", f)
				}
			}
		})
	}
}
