package agent

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/metrics"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

var update = flag.Bool("update", false, "write the documents that are made from the code")

const metricsPage = "../docs/metrics.md"

// TestMetricsPageIsUpToDate holds docs/metrics.md to metrics.Table.
func TestMetricsPageIsUpToDate(t *testing.T) {
	var b strings.Builder
	b.WriteString(metricsIntro)
	for _, m := range metrics.Table {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, strings.Join(m.Labels, ", "), m.Help)
	}
	sameDocument(t, metricsPage, b.String(), "go test ./agent -run MetricsPage -update")
}

func sameDocument(t *testing.T, path, want, command string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says: %s", path, command)
	}
}

const metricsIntro = `# Metrics

` + "`GET /metrics`" + ` on ` + "`admin.listen`" + ` and on the admin socket answers Prometheus. This page is made from the code, and a test compares them.

` + "```yaml" + `
scrape_configs:
  - job_name: personasync
    static_configs:
      - targets: ["127.0.0.1:8481"]
` + "```" + `

` + "`/metrics`, `/healthz` and `/readyz`" + ` are answered under every host name, so a service name works. Everything else on ` + "`admin.listen`" + ` is answered
only under addresses, ` + "`localhost`" + ` and the name in ` + "`admin.listen`" + ` (or the machine's name, if it listens on all addresses). If ` + "`admin.listen`" + ` is off:
` + "`curl --unix-socket DATA_DIR/admin.sock http://agent/metrics`" + `.

No label contains a user id. At most 200 computations have metrics of their own. Codes, outcomes, causes and jobs are limited by the source and the
configuration. The usual ` + "`go_*` and `process_*`" + ` are included. See also the alert rules in [packaging/prometheus](../packaging/prometheus/rules.yml),
the dashboard in [packaging/grafana](../packaging/grafana/personasync.json), and the runbook in [operating.md](operating.md).

| metric | type | labels | meaning |
| --- | --- | --- | --- |
`

// busySite is an agent to which about everything has happened that a metric tells of.
func busySite(t *testing.T) *started {
	s := newSite(t)
	a := s.start(s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=@every 1s", "PERSONASYNC_VERIFY_SCHEDULE=@every 1s", "PERSONASYNC_NOTIFY_COMMAND=/bin/true",
		"PERSONASYNC_BACKUP_SCHEDULE=@every 1s", "PERSONASYNC_BACKUP_DIR="+t.TempDir()), RunOptions{})
	a.tell(news("ann", true, time.Now().Add(-time.Minute)))
	a.tell(strings.ReplaceAll(news("bob", true, time.Now()), `"vip":true`, `"other":true`)) // undetermined
	a.deliver("POST", "/segment/webhook", "{}")
	waitFor(t, "a delivery, a verification, and a count of what is parked", func() bool {
		text := scrape(t, "http://"+a.Admin.String()+"/metrics")
		return strings.Contains(text, `personasync_changes_closed_total{outcome="delivered"} 1`) &&
			strings.Contains(text, `personasync_backup_bytes `) &&
			strings.Contains(text, `personasync_job_last_run_timestamp_seconds{`) &&
			strings.Contains(text, `personasync_verify_differing_users{computation="vip"} 0`) &&
			strings.Contains(text, `personasync_parked{cause="undetermined"} 1`)
	})
	return a
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s: %s, %v", url, resp.Status, text, err)
	}
	return string(text)
}

// eventuallyScraped waits until the metrics say something. A change of the role ends a connection under way.
func eventuallyScraped(t *testing.T, a *started, what, line string) {
	t.Helper()
	waitFor(t, what, func() bool {
		resp, err := http.Get("http://" + a.Admin.String() + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), line)
	})
}

func TestMetricsOfARunningAgent(t *testing.T) {
	t.Parallel() // it waits for seconds
	a := busySite(t)
	text := scrape(t, "http://"+a.Admin.String()+"/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("lint: %s: %s", p.Metric, p.Text)
	}
	for _, secret := range []string{"ann", "bob", "hush"} {
		if strings.Contains(text, `"`+secret+`"`) {
			t.Errorf("%s stands in a label", secret)
		}
	}

	series := make(map[string]bool)
	for line := range strings.Lines(text) {
		if name := line[:strings.LastIndexByte(line, ' ')]; line[0] != '#' && series[name] {
			t.Errorf("%s is there twice", name)
		} else {
			series[name] = true
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(families, func(name string, _ *dto.MetricFamily) bool { return !strings.HasPrefix(name, "personasync_") })
	for _, m := range metrics.Table {
		family := families[m.Name]
		if family == nil && strings.HasPrefix(m.Name, "personasync_store_") {
			continue // of a store that several agents share; cli/testdata/postgres has one
		}
		if family == nil {
			t.Errorf("%s is documented, and not there", m.Name)
			continue
		}
		delete(families, m.Name)
		if kind := strings.ToLower(family.GetType().String()); kind != m.Kind {
			t.Errorf("%s is a %s, and documented as a %s", m.Name, kind, m.Kind)
		}
		if got, want := labelsOf(family.Metric[0]), slices.Sorted(slices.Values(m.Labels)); !slices.Equal(got, want) {
			t.Errorf("%s has the labels %v, and documented are %v", m.Name, got, want)
		}
	}
	for name := range families {
		t.Errorf("%s is not documented", name)
	}
	for _, line := range []string{`_count{method="attribute"} 1`, `_bucket{method="attribute",le="300"} 1`, `_count{method="event"} 0`} {
		if !strings.Contains(text, "personasync_delivery_delay_seconds"+line+"\n") {
			t.Errorf("no delay%s: one attribute was delivered within minutes of its receipt", line)
		}
	}
}

func labelsOf(m *dto.Metric) (names []string) {
	for _, pair := range m.Label {
		names = append(names, pair.GetName())
	}
	slices.Sort(names)
	return names
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}
