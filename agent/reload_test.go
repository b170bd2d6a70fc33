package agent

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store/domain"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await waits until the log holds words.
func (j *journal) await(t *testing.T, words string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if strings.Contains(j.String(), words) {
			return
		}
	}
	t.Fatalf("waited in vain for %q in the log:\n%s", words, j)
}

// reloadable starts an agent that reloads the configurations sent to next.
func (s *site) reloadable(c *config.Config) (a *started, log *journal, reload func(*config.Config)) {
	log = new(journal)
	hangup, next := make(chan os.Signal), make(chan *config.Config, 1)
	a = s.start(c, RunOptions{
		Log:    slog.New(slog.NewTextHandler(log, nil)),
		Reload: hangup,
		Load:   func() (*config.Config, error) { return <-next, nil },
	})
	return a, log, func(c *config.Config) {
		next <- c
		hangup <- os.Interrupt
	}
}

func TestReloadDoesNotOpenAPublicAddressToEverybody(t *testing.T) {
	s := newSite(t)
	public := []string{"PERSONASYNC_INGEST_LISTEN=0.0.0.0:0", "PERSONASYNC_INGEST_BEHIND_PROXY=true"}
	a, log, reload := s.reloadable(s.load(public...))
	unsigned := func() int {
		_, port, err := net.SplitHostPort(a.Ingest.String())
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post("http://127.0.0.1:"+port+"/segment/webhook", "application/json", strings.NewReader(news("ann", true, time.Now())))
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if code := unsigned(); code != http.StatusUnauthorized {
		t.Fatalf("before the reload an unsigned delivery was answered %d", code)
	}
	reload(s.load("PERSONASYNC_INGEST_LISTEN=127.0.0.1:8480", "PERSONASYNC_INGEST_AUTH=off", "PERSONASYNC_SCHEDULE_MODE=cron"))
	log.await(t, "the configuration was not reloaded")
	log.await(t, "anyone could post events")
	if code := unsigned(); code != http.StatusUnauthorized {
		t.Errorf("after the reload an unsigned delivery was answered %d", code)
	}
	if status := log.String(); strings.Contains(status, "configuration reloaded") {
		t.Errorf("some of it was put in force:\n%s", status)
	}
}

// TestAReloadWithoutCredentialsChangesNothing: deliveries are accepted as before, and the condition says why.
func TestAReloadWithoutCredentialsChangesNothing(t *testing.T) {
	s := newSite(t)
	a, log, reload := s.reloadable(s.load())
	bare := s.load()
	bare.Ingest.SharedSecret, bare.Ingest.BearerToken, bare.Ingest.WriteKeys = nil, nil, nil
	reload(bare)
	log.await(t, "is set any more, and POST /segment/webhook would answer 503")
	if code := a.post(http.DefaultClient, "http", news("ann", true, time.Now())); code != http.StatusOK {
		t.Errorf("a signed delivery was answered %d", code)
	}
	if strings.Contains(log.String(), "configuration reloaded") {
		t.Errorf("some of it was put in force:\n%s", log)
	}
}

// TestAReloadToAnotherWorkspaceIsRefused: a running agent that had none would take it, and never send it what another one was told.
func TestAReloadToAnotherWorkspaceIsRefused(t *testing.T) {
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	a.tell("[" + news("ann", true, time.Now()) + "]")
	waitFor(t, "MoEngage knows ann", func() bool { _, known := s.box.User("ann"); return known })
	a.stop()
	none := s.load()
	none.MoEngage.WorkspaceID = ""
	a, log, reload := s.reloadable(none)
	reload(s.load("PERSONASYNC_MOENGAGE_WORKSPACE_ID=ANOTHER"))
	log.await(t, "it was sent to WS over http, and this agent would send it to ANOTHER over http")
	reload(s.load())
	log.await(t, "configuration reloaded")
	a.tell("[" + news("bob", true, time.Now()) + "]")
	waitFor(t, "MoEngage knows bob", func() bool { _, known := s.box.User("bob"); return known })
}

// TestRefusedReloadKeepsTheCertificate: the key pair is swapped with all else, or not at all.
func TestRefusedReloadKeepsTheCertificate(t *testing.T) {
	cert, key, pool := selfSigned(t)
	s := newSite(t)
	over := []string{"PERSONASYNC_INGEST_LISTEN=0.0.0.0:0", "PERSONASYNC_INGEST_TLS_CERT=" + cert, "PERSONASYNC_INGEST_TLS_KEY=" + key}
	a, log, reload := s.reloadable(s.load(over...))
	_, port, err := net.SplitHostPort(a.Ingest.String())
	if err != nil {
		t.Fatal(err)
	}
	presented := func() string {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: pool, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return string(conn.ConnectionState().PeerCertificates[0].Raw)
	}
	first := presented()
	cert2, key2, _ := selfSigned(t)
	for from, to := range map[string]string{cert2: cert, key2: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}

	bad := s.load(over...)
	bad.Ingest.Auth = "off" // as if the address in the file were a local one
	reload(bad)
	log.await(t, "the configuration was not reloaded")
	if presented() != first {
		t.Error("a refused reload changed the certificate")
	}
	reload(s.load(over...))
	log.await(t, "configuration reloaded")
	second := presented()
	if second == first {
		t.Error("a reload left the old certificate")
	}
	cert3, key3, _ := selfSigned(t)
	reload(s.load(append(over, "PERSONASYNC_INGEST_TLS_CERT="+cert3, "PERSONASYNC_INGEST_TLS_KEY="+key3)...))
	for deadline := time.Now().Add(time.Minute); presented() == second; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a reload left the certificate where the old configuration had it:\n%s", log)
		}
	}
}

// TestReloadTakesTheRetention: events that were kept for hours are removed at the first prune after the reload.
func TestReloadTakesTheRetention(t *testing.T) {
	s := newSite(t)
	c := s.load()
	p, err := start(t.Context(), c, life{RunOptions: RunOptions{Log: quiet()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		p.listeners.close()
		_ = p.store.Close()
	}()
	if err := p.reloader.reload(t.Context(), s.load("PERSONASYNC_RETENTION_PARKED=1s")); err != nil {
		t.Fatal(err)
	}
	parked := &domain.Event{Raw: []byte(`{}`), Received: time.Now().Add(-time.Hour), Fault: "undetermined"}
	if err := p.store.Append(t.Context(), parked); err != nil {
		t.Fatal(err)
	}
	if err := p.store.Applied(t.Context()); err != nil {
		t.Fatal(err)
	}
	if counts, err := p.store.Counts(); err != nil || counts.Events.Parked != 1 {
		t.Fatalf("parked: %+v, %v", counts.Events, err)
	}
	for _, at := range []time.Duration{0, 2 * time.Second} { // the first look announces it
		if _, err := p.store.Prune(t.Context(), time.Now().Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	if counts, err := p.store.Counts(); err != nil || counts.Events.Parked != 0 {
		t.Errorf("it is still parked: %+v, %v", counts.Events, err)
	}
}

// TestAGoodReloadLeavesNoLineOfABadOne: nor one about rules that did not change.
func TestAGoodReloadLeavesNoLineOfABadOne(t *testing.T) {
	s := newSite(t)
	_, log, reload := s.reloadable(s.load())
	reload(s.load("PERSONASYNC_RETENTION_PARKED=1h"))
	log.await(t, "configuration reloaded")
	reload(s.load()) // the first is over when the second has begun
	for _, line := range []string{"was not reloaded", "rules changed", "takes effect at the next start only"} {
		if strings.Contains(log.String(), line) {
			t.Errorf("it says %q:\n%s", line, log)
		}
	}
	reload(s.load("PERSONASYNC_DEFAULTS_SEND=event"))
	log.await(t, "rules changed")
	log.await(t, "(defaults)")
}

// TestACertificateThatCannotBeReadRefusesTheReload, and so changes nothing: the refusal is in the log, the
// status, the metrics and /readyz until a good one is taken.
func TestACertificateThatCannotBeReadRefusesTheReload(t *testing.T) {
	cert, key, _ := selfSigned(t)
	s := newSite(t)
	over := []string{"PERSONASYNC_INGEST_TLS_CERT=" + cert, "PERSONASYNC_INGEST_TLS_KEY=" + key}
	c := s.load(over...)
	a, log, reload := s.reloadable(c)
	i, _ := open(t, c)
	next := s.load(append(over, "PERSONASYNC_SCHEDULE_MODE=cron")...)
	if err := os.Rename(cert, cert+".gone"); err != nil {
		t.Fatal(err)
	}
	reload(next)
	log.await(t, "was not reloaded")
	if strings.Contains(log.String(), "configuration reloaded") {
		t.Errorf("it was put in force:\n%s", log)
	}
	shown := func(path string) string {
		resp, err := http.Get("http://" + a.Admin.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	refused := func(s condition.Status) bool {
		return slices.ContainsFunc(s.Conditions, func(c condition.Condition) bool {
			return c.Name == "config_refused" && strings.Contains(c.Text, "ingest.tls_cert")
		})
	}
	eventually(t, i, "the status says so", refused)
	if text := shown("/readyz"); !strings.Contains(text, "config_refused") || !strings.Contains(text, `"ready":true`) {
		t.Errorf("/readyz says %s", text)
	}
	if text := shown("/metrics"); !strings.Contains(text, "\npersonasync_config_reload_refused 1\n") {
		t.Error("/metrics does not say so")
	}
	if err := os.Rename(cert+".gone", cert); err != nil {
		t.Fatal(err)
	}
	reload(next)
	log.await(t, "configuration reloaded")
	eventually(t, i, "the status does not say so any more", func(s condition.Status) bool { return !refused(s) })
	if text := shown("/readyz") + shown("/metrics"); strings.Contains(text, "config_refused\":{") || !strings.Contains(text, "\npersonasync_config_reload_refused 0\n") {
		t.Error("/readyz or /metrics still says so")
	}
}

// TestAReloadWithoutItsCertificateChangesNothing: what can be refused is read before anything is put in force.
func TestAReloadWithoutItsCertificateChangesNothing(t *testing.T) {
	s := newSite(t)
	cert, key, _ := selfSigned(t)
	tls := []string{"PERSONASYNC_INGEST_TLS_CERT=" + cert, "PERSONASYNC_INGEST_TLS_KEY=" + key}
	c := s.load(tls...)
	next := s.load(append(tls, "PERSONASYNC_RETENTION_PARKED=100h")...)
	_, log, reload := s.reloadable(c)
	i, _ := open(t, c)
	if err := os.WriteFile(cert, []byte("half a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(next)
	log.await(t, "the configuration was not reloaded, the old one goes on")
	eventually(t, i, "the refusal is a condition", func(st condition.Status) bool {
		return slices.ContainsFunc(st.Conditions, func(c condition.Condition) bool {
			return c.Name == "config_refused" && strings.Contains(c.Text, "ingest.tls_cert")
		})
	})
	theirs, err := i.(*api.Client).Configuration(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range theirs.Settings {
		if strings.Contains(fmt.Sprint(setting), "100h") {
			t.Errorf("of the refused configuration %+v is in force", setting)
		}
	}
	if strings.Contains(log.String(), "configuration reloaded") {
		t.Errorf("the log has both:\n%s", log)
	}
}
