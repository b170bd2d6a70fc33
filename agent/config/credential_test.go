package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSecretComesFromOnePlace(t *testing.T) {
	file := writeFile(t, "secret", "from-file\nolder\n")
	other := writeFile(t, "other", "from-other")
	dir := filepath.Dir(writeFile(t, "moengage_api_key", "from-credential\n"))
	credentials := "CREDENTIALS_DIRECTORY=" + dir

	tests := []struct {
		name   string
		doc    string
		env    []string
		want   Secret
		origin string
		fault  string
	}{
		{name: "nowhere", origin: "default"},
		{name: "file", doc: `api_key = "inline"`, want: Secret{"inline"}, origin: "agent.toml:2"},
		{name: "list in the file", doc: `api_key = ["new", "old"]`, want: Secret{"new", "old"}, origin: "agent.toml:2"},
		{name: "secret file", doc: `api_key_file = "` + file + `"`, want: Secret{"from-file", "older"}, origin: "file " + file},
		{name: "credential", env: []string{credentials}, want: Secret{"from-credential"}, origin: "credential moengage_api_key"},
		{name: "variable", env: []string{"PERSONASYNC_MOENGAGE_API_KEY=a,b"}, want: Secret{"a,b"}, origin: "env PERSONASYNC_MOENGAGE_API_KEY"},
		{name: "variable naming a file", env: []string{"PERSONASYNC_MOENGAGE_API_KEY_FILE=" + file}, want: Secret{"from-file", "older"}, origin: "file " + file},
		{name: "variable over everything", doc: `api_key_file = "` + other + `"`, env: []string{credentials, "PERSONASYNC_MOENGAGE_API_KEY=x"},
			want: Secret{"x"}, origin: "env PERSONASYNC_MOENGAGE_API_KEY"},
		{name: "variable naming a file over a secret", doc: `api_key = "inline"`, env: []string{"PERSONASYNC_MOENGAGE_API_KEY_FILE=" + file},
			want: Secret{"from-file", "older"}, origin: "file " + file},
		{name: "empty variable takes the file's secret away", doc: `api_key = "inline"`, env: []string{credentials, "PERSONASYNC_MOENGAGE_API_KEY="},
			want: Secret{"from-credential"}, origin: "credential moengage_api_key"},
		{name: "empty forms are not given", doc: "api_key = \"\"\napi_key_file = \"\"", env: []string{credentials},
			want: Secret{"from-credential"}, origin: "credential moengage_api_key"},
		{name: "secret and file", doc: "api_key = \"a\"\napi_key_file = \"" + file + `"`,
			fault: "the secret is given twice, by moengage.api_key (agent.toml:2) and by moengage.api_key_file (agent.toml:3): keep one"},
		{name: "secret and credential", doc: `api_key = "a"`, env: []string{credentials},
			fault: "the secret is given twice, by moengage.api_key (agent.toml:2) and by credential moengage_api_key: keep one"},
		{name: "both in the environment", env: []string{"PERSONASYNC_MOENGAGE_API_KEY=a", "PERSONASYNC_MOENGAGE_API_KEY_FILE=" + file},
			fault: "given twice, by moengage.api_key (env PERSONASYNC_MOENGAGE_API_KEY) and by moengage.api_key_file (env PERSONASYNC_MOENGAGE_API_KEY_FILE): keep one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := "[moengage]\n" + tt.doc
			if tt.fault != "" {
				faults := faultsOf(t, doc, tt.env...)
				if len(faults) != 1 || !strings.Contains(faults[0], tt.fault) {
					t.Errorf("%q", faults)
				}
				return
			}
			c := mustRead(t, doc, tt.env...)
			if diff := cmp.Diff([]string(tt.want), []string(c.MoEngage.APIKey)); diff != "" {
				t.Error(diff)
			}
			if got := c.origins["moengage.api_key"].String(); got != tt.origin {
				t.Errorf("origin %q, want %q", got, tt.origin)
			}
		})
	}
}

func TestEverySecretHasItsCredential(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"segment_shared_secret", "segment_bearer_token", "segment_write_keys", "moengage_api_key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	c := mustRead(t, "", "CREDENTIALS_DIRECTORY="+dir)
	got := []string{c.Ingest.SharedSecret.Current(), c.Ingest.BearerToken.Current(), c.Ingest.WriteKeys.Current(), c.MoEngage.APIKey.Current()}
	want := []string{"segment_shared_secret", "segment_bearer_token", "segment_write_keys", "moengage_api_key"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSecretFilesThatAreRefused(t *testing.T) {
	open := writeFile(t, "it's open", "x")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	large := writeFile(t, "large", strings.Repeat("x", maxSecret+1))
	folder := t.TempDir()
	quoted := strings.ReplaceAll(open, "'", `'\''`)
	for path, want := range map[string]string{
		open:                             "everyone on this machine can read it (mode 0644): type chmod o-r '" + quoted + "'",
		large:                            "has 65537 bytes, too many for a secret: name the file with the secret",
		folder:                           "is not a regular file: name the file with the secret",
		"/dev/zero":                      "is not a regular file: name the file with the secret",
		writeFile(t, "blank", " \r\n\n"): "is empty: write the secret into it, on a line of its own",
		writeFile(t, "bytes", "a\x00b"):  "is not a text file: write the secret into it, on a line of its own",
		filepath.Join(folder, "none"):    "there is no such file: write the secret into it, or correct the path",
		filepath.Join(large, "below"):    "cannot be read: not a directory",
	} {
		faults := faultsOf(t, "[ingest]\nwrite_keys_file = \""+path+"\"\n")
		if len(faults) != 1 || !strings.HasSuffix(faults[0], `": `+want) || !strings.HasPrefix(faults[0], "agent.toml:2: ingest.write_keys_file = ") {
			t.Errorf("%s: %q, want %q", path, faults, want)
		}
	}
	t.Run("as a credential", func(t *testing.T) {
		dir := filepath.Dir(writeFile(t, "segment_write_keys", ""))
		faults := faultsOf(t, "", "CREDENTIALS_DIRECTORY="+dir)
		want := "credential segment_write_keys: ingest.write_keys: " + dir + "/segment_write_keys is empty: write the secret into it, on a line of its own"
		if diff := cmp.Diff([]string{want}, faults); diff != "" {
			t.Error(diff)
		}
	})
}

// A status command must work for a user who may read agent.toml but not its secrets.
func TestOperatorsNeedNoSecrets(t *testing.T) {
	path := writeFile(t, "agent.toml", lines("[moengage]", `workspace_id = "W"`, `api_key_file = "/nowhere/key"`,
		"[ingest]", `tls_cert = "/nowhere/c"`, `tls_key = "/nowhere/k"`, `listen = ":8480"`))
	if _, err := Load(path, nil); err == nil {
		t.Error("a secret that is not there was accepted")
	}
	c, err := LoadWithoutSecrets(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("warnings about secrets that were not read: %q", w)
	}
	for _, s := range c.Effective() {
		want := Setting{Key: s.Key, Value: "(not set)", Origin: "default", Secret: true}
		if s.Key == "moengage.api_key" {
			want.Value, want.Origin = "(not read)", "file /nowhere/key"
		}
		if s.Secret && s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	}
}

// The location of a secret is shown even to users who may not read it.
func TestOriginOfASecretThatIsNotRead(t *testing.T) {
	credentials := filepath.Dir(writeFile(t, "moengage_api_key", "x"))
	path := writeFile(t, "agent.toml", lines("[ingest]", `shared_secret_file = "sec"`, `write_keys = ["k"]`))
	c, err := LoadWithoutSecrets(path, []string{"CREDENTIALS_DIRECTORY=" + credentials, "PERSONASYNC_INGEST_BEARER_TOKEN_FILE=/run/token"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Setting{
		"ingest.shared_secret": {Value: "(not read)", Origin: "file " + filepath.Join(filepath.Dir(path), "sec")},
		"ingest.bearer_token":  {Value: "(not read)", Origin: "file /run/token"},
		"ingest.write_keys":    {Value: "(set, 1 value)", Origin: path + ":3"},
		"moengage.api_key":     {Value: "(not read)", Origin: "credential moengage_api_key"},
	}
	for _, s := range c.Effective() {
		w, ok := want[s.Key]
		if w.Key, w.Secret = s.Key, true; ok && s != w {
			t.Errorf("%+v, want %+v", s, w)
		}
	}
}

func TestCertificateIsTriedBeforeTheStart(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	keyFile := writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	with := func(cert, key string) string {
		return lines("[ingest]", `listen = "0.0.0.0:8480"`, `tls_cert = "`+cert+`"`, `tls_key = "`+key+`"`)
	}

	mustRead(t, with(cert, keyFile))
	if f := faultsOf(t, with(cert, cert)); !strings.Contains(f[0], "agent.toml:3: ingest.tls_cert") || !strings.Contains(f[0], "cannot be used with ingest.tls_key") {
		t.Errorf("a certificate for a key: %q", f)
	}
	if err := os.Chmod(keyFile, 0o604); err != nil {
		t.Fatal(err)
	}
	if f := faultsOf(t, with(cert, keyFile)); !strings.Contains(f[0], "type chmod o-r "+keyFile) {
		t.Errorf("a key that everyone can read: %q", f)
	}
}

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
		{"moengage.api_key", "marked\xff\xfe", "it has bytes in it that are no text"},
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
