// Package prometheus has the alert rules. Its tests evaluate them, and every expression of the dashboard, on scrapes
// of a real agent. It is a module of its own, so that Prometheus is not a dependency of the product.
package prometheus

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/teststorage"
)

const minute = int64(time.Minute / time.Millisecond)

// scraped is one scrape: samples by series.
type scraped map[string]sample

type sample struct {
	labels labels.Labels
	value  float64
}

// with returns s with another value for every series of a metric. It simulates states that a test cannot wait for,
// such as a quarter of an hour without a delivery.
func (s scraped) with(metric string, value float64) scraped {
	out, found := maps.Clone(s), false
	for key, x := range s {
		if x.labels.Get(model.MetricNameLabel) == metric {
			out[key], found = sample{x.labels, value}, true
		}
	}
	if !found {
		panic("the agent has no " + metric)
	}
	return out
}

// holding returns s with a condition active at a severity.
func (s scraped) holding(name, severity string) scraped { return s.condition(name, severity, 1) }

func (s scraped) condition(name, severity string, value float64) scraped {
	out, found := maps.Clone(s), false
	for key, x := range s {
		if x.labels.Get(model.MetricNameLabel) == "personasync_condition" && x.labels.Get("name") == name && x.labels.Get("severity") == severity {
			out[key], found = sample{x.labels, value}, true
		}
	}
	if !found {
		panic("the agent has no condition " + name + ", " + severity)
	}
	return out
}

// history is the data stored by Prometheus: one scrape a minute.
type history []scraped

func steady(s scraped, minutes int) (h history) {
	for range minutes {
		h = append(h, s)
	}
	return h
}

// between interpolates between two scrapes in even steps.
func between(from, to scraped, minutes int) (h history) {
	for i := range minutes {
		step := make(scraped)
		for key, x := range to {
			if was, ok := from[key]; ok {
				x.value = was.value + (x.value-was.value)*float64(i)/float64(minutes-1)
			}
			step[key] = x
		}
		h = append(h, step)
	}
	return h
}

// prometheus evaluates expressions on a history that begins at start.
type prometheus struct {
	t     *testing.T
	start int64
	h     history
	db    *teststorage.TestStorage
	run   *promql.Engine
}

func load(t *testing.T, h history) *prometheus {
	t.Helper()
	p := &prometheus{t: t, start: time.Now().UnixMilli(), h: h, db: teststorage.New(t)}
	p.run = promql.NewEngine(promql.EngineOpts{
		Logger: slog.New(slog.DiscardHandler), MaxSamples: 1e7, Timeout: time.Minute, LookbackDelta: 90 * time.Second,
		Parser: parser.NewParser(parser.Options{}),
	})
	t.Cleanup(func() { p.run.Close() })
	app := p.db.Appender(t.Context())
	for i, s := range h {
		for _, x := range s {
			if _, err := app.Append(0, x.labels, p.start+int64(i)*minute, x.value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	return p
}

// at evaluates expr at minute i of the history.
func (p *prometheus) at(expr string, i int) promql.Vector {
	p.t.Helper()
	q, err := p.run.NewInstantQuery(p.t.Context(), p.db, nil, expr, time.UnixMilli(p.start+int64(i)*minute))
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	defer q.Close()
	r := q.Exec(p.t.Context())
	v, err := r.Vector()
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	return slices.Clone(v)
}

// fires reports whether an alert's expression was true for the alert's duration.
func (p *prometheus) fires(r rulefmt.Rule) bool {
	held := -1
	for i := range p.h {
		if len(p.at(r.Expr, i)) == 0 {
			held = -1
			continue
		}
		if held < 0 {
			held = i
		}
		if time.Duration(i-held)*time.Minute >= time.Duration(r.For) {
			return true
		}
	}
	return false
}

func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile("rules.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	all := make(map[string]rulefmt.Rule)
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			all[r.Alert] = r
		}
	}
	return all
}

// TestRules causes problems in a real agent, scrape by scrape, and checks which alerts fire.
func TestRules(t *testing.T) {
	a := startAgent(t)
	a.tell("ann", true, "hush")
	a.until(`personasync_changes_closed_total{outcome="delivered"} 1`)
	a.until(`personasync_verify_differing_users{computation="vip"} 0`)
	// A busy machine misses runs of a job that is due each second; missed runs have a case of their own below.
	punctual := func(s scraped) scraped { return s.condition("runs_missed", "warning", 0) }
	well := punctual(a.scrape())

	for range 60 {
		a.tell("eve", true, "wrong")
	}
	a.post("/v1/track", `{}`, nil) // no write key is configured: 503
	a.until(`personasync_condition{name="intake_refused",severity="critical"} 1`)
	refused := punctual(a.scrape())

	a.tellRaw(`{"type":"identify","userId":"bob","messageId":"m-9","traits":{},"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"s"}}}`, "hush")
	a.until(`personasync_parked{cause="undetermined"} 1`)
	parked := punctual(a.scrape()).condition("intake_refused", "critical", 0).condition("intake_deferred", "warning", 0)

	a.moengage.Store(http.StatusUnauthorized)
	a.tell("carl", true, "hush")
	a.until(`personasync_condition{name="moengage_refusing",severity="critical"} 1`)
	stopped := punctual(a.scrape()).condition("intake_refused", "critical", 0).condition("intake_deferred", "warning", 0)
	gone := scraped{}
	a.stop()
	if _, err := a.fetch(); err == nil {
		t.Fatal("the agent answers after its end")
	}
	for key, x := range well {
		if x.labels.Get(model.MetricNameLabel) == "up" {
			gone[key] = sample{x.labels, 0}
		}
	}

	for _, c := range []struct {
		name string
		h    history
		want []string
	}{
		{"all is well", steady(well, 90), nil},
		{"the agent is gone", steady(gone, 5), []string{"PersonasyncDown"}},
		{"the door refuses", steady(refused, 8), []string{"PersonasyncDoorRefuses", "PersonasyncRefusesEvents"}},
		{"the door refuses a few", steady(well.holding("intake_refused", "warning"), 8), []string{"PersonasyncDoorRefuses"}},
		{"everything is ignored", steady(well.holding("intake_ignored", "critical"), 8), []string{"PersonasyncIntakeIgnored"}},
		{"nothing came in a day", steady(well.holding("no_event_yet", "warning"), 24*60+2), []string{"PersonasyncNoEventYet"}},
		{"nothing came in an hour yet", steady(well.holding("no_event_yet", "warning"), 60), nil},
		{"Segment is silent", steady(well.holding("nothing_received", "warning"), 15), []string{"PersonasyncNothingReceived"}},
		{"a computation fell silent", steady(well.holding("computation_silent", "info"), 70), []string{"PersonasyncComputationSilent"}},
		{"something is parked", steady(parked, 30), []string{"PersonasyncParked"}},
		{"credentials are refused", steady(stopped, 30), []string{"PersonasyncMoEngageRefuses", "PersonasyncParked"}},
		{"MoEngage is away for some minutes", steady(well.holding("moengage_failing", "warning"), 10), nil},
		{"MoEngage is away", steady(well.holding("moengage_failing", "warning"), 20), []string{"PersonasyncMoEngageFailing"}},
		{"events are not accepted", steady(well.holding("not_ready", "critical"), 5), []string{"PersonasyncNotReady"}},
		{"no agent writes", steady(well.holding("no_writer", "critical"), 5), []string{"PersonasyncNoWriter"}},
		{"an agent is set up for another workspace", steady(well.holding("other_workspace", "warning"), 5), []string{"PersonasyncOtherWorkspace"}},
		{"no standby confirms", steady(well.holding("no_standby", "critical"), 5), []string{"PersonasyncNoStandby"}},
		{"a transaction stays open", steady(well.holding("old_transaction", "warning"), 8), []string{"PersonasyncOldTransaction"}},
		{"changes wait", steady(well.holding("lag", "critical"), 10), []string{"PersonasyncLag"}},
		{"the data was moved", steady(well.holding("data_moved", "critical"), 5), []string{"PersonasyncDataMoved"}},
		{"two computations have one name", steady(well.holding("key_conflict", "warning"), 20), []string{"PersonasyncKeyConflict"}},
		{"changes are held", steady(well.holding("held", "warning"), 20), []string{"PersonasyncHeld"}},
		{"apply is behind", steady(well.holding("behind", "warning"), 15), []string{"PersonasyncBehind"}},
		{"the disk is nearly full", steady(well.holding("disk", "critical"), 8), []string{"PersonasyncDiskLow"}},
		{"the disk fills", steady(well.holding("disk", "warning"), 70), []string{"PersonasyncDiskFills"}},
		{"the ledger is off", steady(well.holding("ledger", "critical"), 2), []string{"PersonasyncLedger"}},
		{"a file was damaged", steady(well.holding("damage", "warning"), 2), []string{"PersonasyncDamage"}},
		{"a reload was refused", steady(well.holding("config_refused", "warning"), 10), []string{"PersonasyncConfigRefused"}},
		{"sending is paused", steady(well.holding("paused", "warning"), 70), []string{"PersonasyncPaused"}},
		{"sending is paused for a moment", steady(well.holding("paused", "warning"), 30), nil},
		{"the socket is missing", steady(well.holding("socket_missing", "critical"), 5), []string{"PersonasyncSocketMissing"}},
		{"something else has the socket's name", steady(well.holding("socket_lost", "critical"), 5), []string{"PersonasyncSocketLost"}},
		{"nothing can be read back", steady(well.holding("verify_impossible", "warning"), 10), []string{"PersonasyncVerifyImpossible"}},
		{"deletes are held", steady(well.holding("deletions", "warning"), 20), []string{"PersonasyncDeletions"}},
		{"a backup failed", steady(well.holding("backup", "warning"), 10), []string{"PersonasyncBackup"}},
		{"a job failed", steady(well.holding("job_failed", "warning"), 10), []string{"PersonasyncJobFailed"}},
		{"the clock was set back", steady(well.holding("clock", "warning"), 2), []string{"PersonasyncClock"}},
		{"nobody is told", steady(well.holding("notify_failing", "warning"), 7), []string{"PersonasyncNotifyFailing"}},
		{"the log lost lines", steady(well.holding("log_dropped", "info"), 2), []string{"PersonasyncLogDropped"}},
		{"runs were missed", steady(well.holding("runs_missed", "warning"), 2), []string{"PersonasyncMissedRuns"}},
		{"MoEngage lost something", steady(well.holding("verify_differs", "warning"), 2), []string{"PersonasyncVerifyDiffers"}},
		{"MoEngage lost next to nothing", steady(well.holding("verify_differs", "info"), 2), nil},
		{"the store does not answer", steady(well.holding("store_unreadable", "critical"), 10), []string{"PersonasyncScrapeErrors"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, c.h)
			for name, r := range rules(t) {
				if got, want := p.fires(r), slices.Contains(c.want, name); got != want {
					t.Errorf("%s fires: %v, want %v", name, got, want)
				}
			}
		})
	}
	t.Run("an alert is as severe as its condition", func(t *testing.T) {
		for name, r := range rules(t) {
			if _, own := r.Labels["severity"]; own != (name == "PersonasyncDown") {
				t.Errorf("%s has the labels %v", name, r.Labels)
			}
		}
	})
	t.Run("every rule has fired", func(t *testing.T) {
		tried := strings.Join(strings.Fields(source(t)), " ")
		for name := range rules(t) {
			if !strings.Contains(tried, `"`+name+`"`) {
				t.Errorf("nothing makes %s fire", name)
			}
		}
	})
	t.Run("every series that is asked for is there", func(t *testing.T) {
		p := load(t, steady(stopped, 2))
		for name, r := range rules(t) {
			p.known(name, r.Expr)
		}
		for name, expr := range dashboard(t) {
			p.known(name, expr)
		}
	})
	t.Run("every alert has a page", func(t *testing.T) {
		text, err := os.ReadFile("../../docs/operating.md")
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range rules(t) {
			if !strings.Contains(string(text), "\n### "+name+"\n") {
				t.Errorf("docs/operating.md has no section on %s", name)
			}
			if want := "docs/operating.md#" + strings.ToLower(name); r.Annotations["runbook"] != want {
				t.Errorf("%s leads to %s, want %s", name, r.Annotations["runbook"], want)
			}
		}
	})
}

func source(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("rules_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// known checks that a real scrape has every selector of expr.
func (p *prometheus) known(name, expr string) {
	p.t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		p.t.Errorf("%s: %v", name, err)
		return
	}
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok && len(p.at(v.String(), 1)) == 0 {
			p.t.Errorf("%s asks for %s, which no agent has", name, v)
		}
		return nil
	})
}

// dashboard returns the expressions of the Grafana dashboard with its variables replaced.
func dashboard(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../grafana/personasync.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, p := range d.Panels {
		for i, target := range p.Targets {
			all[fmt.Sprintf("%s, query %d", p.Title, i+1)] = strings.NewReplacer("$instance", ".*", "$__rate_interval", "5m").Replace(target.Expr)
		}
	}
	if len(all) < 20 {
		t.Errorf("the dashboard has %d queries", len(all))
	}
	return all
}

// agent is a running binary with a server in place of MoEngage.
type agent struct {
	t             *testing.T
	ingest, admin string
	moengage      atomic.Int32 // the status it answers
	stop          func()
	serial        int
}

func startAgent(t *testing.T) *agent {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "personasync")
	build := exec.Command("go", "build", "-o", binary, "./cli/personasync")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	a := &agent{t: t, ingest: freeAddress(t), admin: freeAddress(t)}
	a.moengage.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(int(a.moengage.Load()))
		_, _ = w.Write([]byte(`{"status":"success"}`))
	}))
	t.Cleanup(server.Close)

	var log bytes.Buffer
	run := exec.Command(binary, "run", "--config", os.DevNull)
	run.Stdout, run.Stderr = &log, &log
	run.Env = append(os.Environ(),
		"PERSONASYNC_DATA_DIR="+filepath.Join(dir, "data"), "PERSONASYNC_INGEST_LISTEN="+a.ingest, "PERSONASYNC_ADMIN_LISTEN="+a.admin,
		"PERSONASYNC_INGEST_SHARED_SECRET=hush", "PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS", "PERSONASYNC_MOENGAGE_API_KEY=key",
		"PERSONASYNC_MOENGAGE_BASE_URL="+server.URL, "PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=@every 1s", "PERSONASYNC_VERIFY_SCHEDULE=@every 5s")
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = run.Wait(); close(ended) }()
	a.stop = func() {
		_ = run.Process.Signal(os.Interrupt)
		<-ended
	}
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	a.until("personasync_ready 1")
	return a
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (a *agent) fetch() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.admin+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func (a *agent) until(line string) {
	a.t.Helper()
	text := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if text, _ = a.fetch(); strings.Contains(text, line+"\n") {
			return
		}
	}
	a.t.Fatalf("waited in vain for %s in\n%s", line, text)
}

// scrape reads /metrics and adds the series that Prometheus adds.
func (a *agent) scrape() scraped {
	a.t.Helper()
	text, err := a.fetch()
	if err != nil {
		a.t.Fatal(err)
	}
	textParser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := textParser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		a.t.Fatal(err)
	}
	s := make(scraped)
	add := func(metric model.Metric, value float64) {
		b := labels.NewBuilder(labels.EmptyLabels()).Set("job", "personasync").Set("instance", a.admin)
		for name, v := range metric {
			b.Set(string(name), string(v))
		}
		l := b.Labels()
		s[l.String()] = sample{l, value}
	}
	for _, family := range families {
		vector, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, family)
		if err != nil {
			a.t.Fatal(err)
		}
		for _, x := range vector {
			add(x.Metric, float64(x.Value))
		}
	}
	add(model.Metric{model.MetricNameLabel: "up"}, 1)
	return s
}

func (a *agent) tell(user string, in bool, secret string) {
	a.serial++
	a.tellRaw(fmt.Sprintf(`{"type":"identify","userId":%q,"messageId":"m-%s-%d","traits":{"vip":%v},
		"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"s"}}}`, user, user, a.serial, in), secret)
}

func (a *agent) tellRaw(body, secret string) {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(body))
	a.post("/segment/webhook", body, http.Header{"X-Signature": {hex.EncodeToString(mac.Sum(nil))}})
}

func (a *agent) post(path, body string, header http.Header) {
	a.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+a.ingest+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	_ = resp.Body.Close()
}
