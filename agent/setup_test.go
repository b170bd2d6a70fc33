package agent

import (
	"os"
	"testing"

	"personasync/agent/config"
)

func TestTheAddressForSegmentIsOneThatItReaches(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		listen, cert string
		proxy        bool
		url          string
		local        bool
	}{
		{"127.0.0.1:8480", "", false, "https://YOUR-HOST/segment/webhook", true},
		{"127.0.0.1:8480", "c.pem", false, "https://YOUR-HOST/segment/webhook", true},
		{"[::1]:8480", "c.pem", false, "https://YOUR-HOST/segment/webhook", true},
		{"localhost:8480", "c.pem", false, "https://YOUR-HOST/segment/webhook", true},
		{"unix:/run/in.sock", "", false, "https://YOUR-HOST/segment/webhook", true},
		{"0.0.0.0:8480", "", true, "https://YOUR-HOST/segment/webhook", true},
		{"0.0.0.0:8443", "c.pem", false, "https://" + name + ":8443/segment/webhook", false},
		{":443", "c.pem", false, "https://" + name + "/segment/webhook", false},
		{"hooks.example.com:443", "c.pem", false, "https://hooks.example.com/segment/webhook", false},
		{"[2001:db8::7]:8443", "c.pem", false, "https://[2001:db8::7]:8443/segment/webhook", false},
	} {
		conf := config.Default()
		conf.Ingest.Listen, conf.Ingest.TLSCert, conf.Ingest.BehindProxy = c.listen, c.cert, c.proxy
		if got := setup(conf); got.URL != c.url || got.Local != c.local || got.Secret || got.Token || got.Open {
			t.Errorf("%s: %+v, want %s", c.listen, got, c.url)
		}
	}
}

func TestACommandNamesTheConfigurationUnlessItFindsIt(t *testing.T) {
	for file, want := range map[string]string{
		"": "personasync", "/etc/personasync/agent.toml": "personasync", "/srv/a b.toml": "personasync --config '/srv/a b.toml'",
	} {
		if got := commandTo(file); got != want {
			t.Errorf("%q is reached by %q, want %q", file, got, want)
		}
	}
}
