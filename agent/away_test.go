package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store/postgres/pgtest"
)

// pairAgent returns the configuration of an agent on a pair.
func pairAgent(s *site, pair *pgtest.Pair, more ...string) *config.Config {
	return s.load(append([]string{"PERSONASYNC_STORE_ENGINE=postgres", "PERSONASYNC_STORE_URL=" + pair.URL(), "PERSONASYNC_STORE_TERM=3s"}, more...)...)
}

// freePort returns an address of loopback where nothing listens.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestAnAgentIsStartedWhilePostgreSQLIsAway: it ended, and the load balancer's probe and Segment met a closed port. It
// answers both with the reason, a command too, and begins by itself.
func TestAnAgentIsStartedWhilePostgreSQLIsAway(t *testing.T) {
	t.Parallel() // it waits
	pair := pgtest.NewPair(t)
	s := newSite(t)
	ingest, admin := freePort(t), freePort(t)
	c := pairAgent(s, pair, "PERSONASYNC_INGEST_LISTEN="+ingest, "PERSONASYNC_ADMIN_LISTEN="+admin)
	if err := os.RemoveAll(c.DataDir); err != nil {
		t.Fatal(err)
	}
	pair.Primary.Stop(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan Addresses, 1)
	go func() {
		ended <- Run(ctx, c, RunOptions{Log: quiet(), Version: "1.0", Ready: func(at Addresses) { ready <- at }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	says := func(method, url string) (code int, text string) {
		waitFor(t, "an answer of "+url, func() bool {
			req, err := http.NewRequest(method, url, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Close = true
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			code, text = resp.StatusCode, string(body)
			return err == nil
		})
		return code, text
	}
	if code, text := says("GET", "http://"+admin+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "store") {
		t.Errorf("readyz: %d %s", code, text)
	}
	waitFor(t, "a probe that has the reason", func() bool {
		_, text := says("GET", "http://"+admin+"/readyz")
		return strings.Contains(text, "start the primary, or promote a standby")
	})
	if code, text := says("POST", "http://"+ingest+"/segment/webhook"); code != http.StatusServiceUnavailable || !strings.Contains(text, "the agent waits for its store") || strings.Contains(text, "postgres") {
		t.Errorf("a delivery: %d %s", code, text)
	}
	if code, _ := says("POST", "http://"+ingest+"/no/such/path"); code != http.StatusNotFound {
		t.Errorf("a path that does not exist: %d", code)
	}
	if code, text := says("GET", "http://"+admin+"/metrics"); code != http.StatusOK || !strings.Contains(text, "personasync_ready 0") ||
		!strings.Contains(text, `personasync_condition{name="store_unreadable",severity="critical"} 1`) {
		t.Errorf("metrics: %d %s", code, text)
	}
	if code, _ := says("GET", "http://"+admin+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	client, err := api.Dial(t.Context(), c.Socket(os.Getenv), "1.0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Status(t.Context()); !errors.Is(err, api.ErrWaiting) || !strings.Contains(err.Error(), "start the primary, or promote a standby") {
		t.Errorf("status: %v", err)
	}
	if _, err := client.Flush(t.Context(), ""); !errors.Is(err, api.ErrWaiting) {
		t.Errorf("flush: %v", err)
	}
	_ = client.Close()
	var failed []string
	for _, f := range Diagnose(t.Context(), c, nil, "1.0") {
		if f.State == "fail" {
			failed = append(failed, f.Check+" "+f.Condition)
		}
	}
	if one := []string{"database " + condition.Unreadable}; !slices.Equal(failed, one) {
		t.Errorf("the doctor finds %q, want the one cause %q", failed, one)
	}
	pair.Primary.Start(t)
	select {
	case at := <-ready:
		a := &started{Addresses: at, t: t}
		a.tell(news("ann", true, time.Now()))
	case <-time.After(time.Minute):
		t.Fatal("the agent never began")
	}
}

// TestAWaitingAgentTakesAReload: an agent with a wrong address of its store waited for it, and a corrected file changed nothing.
func TestAWaitingAgentTakesAReload(t *testing.T) {
	t.Parallel() // it waits
	s, hup := newSite(t), make(chan os.Signal)
	wrong := s.load(inSchema("postgres://me@"+freePort(t)+"/none?sslmode=disable", "personasync")...)
	right := s.load(inSchema(pgtest.URL(t), "personasync")...)
	next := make(chan *config.Config, 2)
	next <- s.load() // in files
	next <- right
	go func() {
		hup <- os.Interrupt
		hup <- os.Interrupt
	}()
	log := new(journal)
	a := s.start(wrong, RunOptions{Reload: hup, Load: func() (*config.Config, error) { return <-next, nil }, Log: slog.New(slog.NewTextHandler(log, nil))})
	a.tell("[" + news("ann", true, time.Now()) + "]")
	log.await(t, "(store.engine), which a start decides")
}

// TestWhatWaitingDoesNotCureEndsAStart: with what to do, and not with an agent that answers 503 until somebody looks.
func TestWhatWaitingDoesNotCureEndsAStart(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	address := pgtest.URL(t)
	for what, c := range map[string]struct{ url, want string }{
		"no database": {strings.Replace(address, "@/t", "@/nothing", 1), "create the database there"},
		"no user":     {strings.Replace(address, "postgres@", "nobody@", 1), "user and password"},
		"no standby":  {address, "replicated = "},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := Run(ctx, s.load("PERSONASYNC_STORE_ENGINE=postgres", "PERSONASYNC_STORE_URL="+c.url), RunOptions{Log: quiet(), Version: "1.0"})
		cancel()
		if err == nil || ctx.Err() == context.DeadlineExceeded || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}
