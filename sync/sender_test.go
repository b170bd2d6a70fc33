package syncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/sync/internal/ratelimit"
)

// run starts a sender inside a synctest bubble and stops it at the end of the test.
func run(t *testing.T, c Config, o Outbox) (s *Sender, stop func()) {
	t.Helper()
	return runLogged(t, c, o, quiet())
}

func runLogged(t *testing.T, c Config, o Outbox, log *slog.Logger) (s *Sender, stop func()) {
	t.Helper()
	s = New(c, o, log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

// eventually waits, in fake time, until cond is true.
func eventually(t *testing.T, limit time.Duration, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %v", limit)
		}
		time.Sleep(max(limit/1000, 10*time.Millisecond))
	}
	synctest.Wait()
}

// blind is an outbox that cannot say what was sent.
type blind struct{ *shelf }

func (blind) Sent(time.Time) ([]domain.SentSecond, error) { return nil, errBlind }

var errBlind = errors.New("the disk is gone")

// TestASenderThatDoesNotKnowWhatWasSentDoesNotSend: it would go over MoEngage's limits.
func TestASenderThatDoesNotKnowWhatWasSentDoesNotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t}
		o.attribute("ann")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := New(testConfig(w), blind{o}, quiet()).Run(ctx); !errors.Is(err, errBlind) || w.count() != 0 {
			t.Errorf("it ended with %v after %d requests", err, w.count())
		}
	})
}

func TestAChangeWaitsForCompanyAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: 50 * time.Millisecond}
		_, stop := run(t, testConfig(w), o)
		defer stop()

		start := time.Now()
		o.attribute("ann")
		time.Sleep(300 * time.Millisecond)
		o.attribute("bob")
		o.event("bob")
		eventually(t, 5*time.Second, o.drained)

		if w.count() != 1 || w.seen()[0].users != 2 || w.seen()[0].events != 1 {
			t.Fatalf("requests: %+v, want one with both users", w.seen())
		}
		if waited := w.seen()[0].at.Sub(start); waited > time.Second+askPause {
			t.Errorf("the first waited %v, longer than max_delay", waited)
		}
		if want := []string{"ann", "bob", "!bob"}; !slices.Equal(w.seen()[0].ids, want) {
			t.Errorf("order %v, want %v", w.seen()[0].ids, want)
		}
	})
}

func TestEventsOfAUserLeaveOneByOneInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: 20 * time.Millisecond}
		_, stop := run(t, testConfig(w), o)
		defer stop()
		for range 5 {
			o.event("ann")
		}
		eventually(t, 10*time.Second, o.drained)
		if w.count() != 5 {
			t.Errorf("%d requests, want 5 with one event each", w.count())
		}
		for _, r := range w.seen() {
			if r.events != 1 {
				t.Errorf("a request carried %d events of one user", r.events)
			}
		}
	})
}

func TestIdlenessCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t}
		_, stop := run(t, testConfig(w), o)
		defer stop()
		time.Sleep(time.Hour)
		if o.seen().takes > 122 {
			t.Errorf("%d questions to the outbox in an idle hour, want one a sweep", o.seen().takes)
		}
		if w.count() != 0 {
			t.Errorf("%d requests for nothing", w.count())
		}
	})
}

func TestAStreamOfCommitsIsNotAStreamOfQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: 10 * time.Millisecond}
		_, stop := run(t, testConfig(w), o)
		defer stop()
		const seconds = 20
		for i := range seconds * 1000 {
			o.attribute(fmt.Sprint("user-", i))
			time.Sleep(time.Millisecond)
		}
		eventually(t, 5*time.Second, o.drained)
		if limit := seconds * int(time.Second/askPause) * 3 / 2; o.seen().takes > limit {
			t.Errorf("%d questions in %d s, want at most %d", o.seen().takes, seconds, limit)
		}
		if w.count() > 3*seconds {
			t.Errorf("%d requests for %d s of changes: they do not wait for others", w.count(), seconds)
		}
	})
}

// The network is cut and restored a thousand times while changes keep coming. Each time everything must drain
// without a restart, and neither outbox nor network may be polled.
func TestCutAndHealedAThousandTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		o := newShelf(t)
		w := &wire{t: t, latency: 20 * time.Millisecond}
		breaks := []func() (*http.Response, error){
			func() (*http.Response, error) { return nil, cut() },
			func() (*http.Response, error) { return nil, reset() },
			func() (*http.Response, error) { return fail(503, "Server Error", "later"), nil },
			func() (*http.Response, error) { return reply(502, "<html>"), nil },
			func() (*http.Response, error) { return nil, errors.New("unexpected EOF") },
		}
		var n atomic.Int64
		w.answer = func(sentRequest) (*http.Response, error) {
			if !down.Load() {
				return ok(), nil
			}
			return breaks[int(n.Load())%len(breaks)]()
		}
		s, stop := run(t, testConfig(w), o)
		defer stop()

		start := time.Now()
		for round := range 1000 {
			n.Store(int64(round))
			down.Store(true)
			for i := range 5 {
				o.attribute(fmt.Sprintf("user-%d", (round*5+i)%3000))
				o.event(fmt.Sprintf("user-%d", (round*5+i)%3000))
			}
			time.Sleep(time.Duration(rand.N(int64(20 * time.Second))))
			down.Store(false)
			eventually(t, 6*time.Minute, o.drained)
		}
		if s.Health().State != stateOK {
			t.Errorf("health is %+v after all is well", s.Health())
		}
		if len(o.seen().parked) != 0 {
			t.Errorf("%d parked by an outage", len(o.seen().parked))
		}
		// A cut of 10 s on average takes about log2(10)+1 attempts with a first pause of a second, with full
		// jitter about twice as many. Then five changes are sent in one or two requests.
		if per := w.count() / 1000; per > 20 {
			t.Errorf("%d requests per cut", per)
		}
		took := time.Since(start)
		if per := float64(o.seen().takes) / took.Seconds(); per > 5 {
			t.Errorf("%d questions in %v: %.1f a second", o.seen().takes, took, per)
		}
		t.Logf("%v of fake time, %d requests, %d questions", took.Round(time.Second), w.count(), o.seen().takes)
	})
}

func TestAnOutageMakesFewRequestsUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		o := newShelf(t)
		w := &wire{t: t, latency: 100 * time.Millisecond, answer: func(sentRequest) (*http.Response, error) {
			if down.Load() {
				return nil, reset()
			}
			return ok(), nil
		}}
		c := testConfig(w)
		c.MaxRequestBytes = 1000
		c.Concurrency = 4
		for i := range 500 {
			o.attribute(fmt.Sprint("user-", i))
		}
		s, stop := run(t, c, o)
		defer stop()
		time.Sleep(1200 * time.Millisecond)
		if n := w.width(); n != 4 {
			t.Errorf("%d requests at once before the outage was known, want 4", n)
		}
		if h := s.Health(); h.State != stateFailing || !strings.HasPrefix(h.LastError, codeLost) {
			t.Errorf("health %+v", h)
		}
		time.Sleep(time.Second) // the four have failed
		w.width()
		before := w.count()
		time.Sleep(10 * time.Minute)
		if n := w.width(); n > 1 {
			t.Errorf("%d requests at once while the endpoint fails", n)
		}
		if n := w.count() - before; n > 60 || n < 3 {
			t.Errorf("%d tries in ten minutes of outage", n)
		}
		down.Store(false)
		eventually(t, 10*time.Minute, o.drained)
		if n := w.width(); n != 4 {
			t.Errorf("%d requests at once after the outage, want 4 again", n)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for name, header := range map[string]func() []string{
		"seconds": func() []string { return []string{"Retry-After", "37"} },
		"a date": func() []string {
			return []string{"Retry-After", time.Now().Add(37 * time.Second).UTC().Format(http.TimeFormat)}
		},
		"reset, left":   func() []string { return []string{"x-ratelimit-reset", "37"} },
		"reset, epoch":  func() []string { return []string{"x-ratelimit-reset", fmt.Sprint(time.Now().Unix() + 37)} },
		"before resets": func() []string { return []string{"Retry-After", "37", "x-ratelimit-reset", "5"} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newShelf(t)
				w := &wire{t: t}
				w.answer = func(sentRequest) (*http.Response, error) {
					if w.count() == 1 {
						return reply(429, `{"status":"fail","error":{"type":"Rate Limits Exceeded","message":"Try later"}}`, header()...), nil
					}
					return ok(), nil
				}
				_, stop := run(t, testConfig(w), o)
				defer stop()
				o.attribute("ann")
				eventually(t, 2*time.Minute, o.drained)
				if w.count() != 2 {
					t.Fatalf("%d requests", w.count())
				}
				pause := w.seen()[1].at.Sub(w.seen()[0].at)
				if pause < 36*time.Second || pause > 40*time.Second {
					t.Errorf("came back after %v, was told 37 s", pause)
				}
			})
		})
	}
}

func TestAStoppedEndpointParksNothingProbesAndHeals(t *testing.T) {
	stops := map[string]func() (*http.Response, error){
		"http_401": func() (*http.Response, error) {
			return fail(401, "Authentication required", "App Secret key mismatch"), nil
		},
		"http_403":        func() (*http.Response, error) { return fail(403, "Account Suspended", "suspended"), nil },
		"http_409":        func() (*http.Response, error) { return fail(409, "Authentication Mismatch", "mismatch"), nil },
		"http_404":        func() (*http.Response, error) { return reply(404, "not here"), nil },
		codeRedirected:    func() (*http.Response, error) { return reply(302, "", "Location", "https://elsewhere.test/"), nil },
		codeUnexpected:    func() (*http.Response, error) { return reply(418, "teapot"), nil },
		codeAccount:       func() (*http.Response, error) { return fail(400, "Blacklisted", "Your account is blacklisted"), nil },
		codeUnexplained:   func() (*http.Response, error) { return fail(400, "Malformed JSON", "?"), nil },
		"html_400":        func() (*http.Response, error) { return reply(400, "<html>bad request"), nil },
		"dns_failure":     func() (*http.Response, error) { return nil, noSuchHost() },
		"tls_distrust":    func() (*http.Response, error) { return nil, distrust() },
		"http_415":        func() (*http.Response, error) { return reply(415, ""), nil },
		"http_405":        func() (*http.Response, error) { return reply(405, ""), nil },
		"http_451":        func() (*http.Response, error) { return reply(451, ""), nil },
		"cooked_by_proxy": func() (*http.Response, error) { return reply(304, ""), nil },
	}
	for name, answer := range stops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				broken.Store(true)
				o := newShelf(t)
				w := &wire{t: t, latency: 10 * time.Millisecond, answer: func(sentRequest) (*http.Response, error) {
					if broken.Load() {
						return answer()
					}
					return ok(), nil
				}}
				var log bytes.Buffer
				s, stop := runLogged(t, testConfig(w), o, slog.New(slog.NewTextHandler(&log, nil)))
				for i := range 300 {
					o.attribute(fmt.Sprintf("user-%d@example.test", i))
				}
				time.Sleep(10 * time.Minute)
				h := s.Health()
				if !h.Stopped || h.State != stateFailing || h.NextProbe.IsZero() || h.LastError == "" {
					t.Errorf("health %+v, want stopped", h)
				}
				// At most 12 probes. After a 400, users who were never refused are tried sooner at first: 18
				// with two controls each, and a search before the first stop.
				if w.count() < 8 || w.count() > 18*3+12 {
					t.Errorf("%d requests in ten minutes", w.count())
				}
				if o.seen().refused+o.seen().uncertain+len(o.seen().parked)+o.seen().delivered != 0 {
					t.Errorf("refused %d, uncertain %d, parked %d, delivered %d: no attempt may be spent", o.seen().refused, o.seen().uncertain, len(o.seen().parked), o.seen().delivered)
				}
				if o.seen().takes > 60 {
					t.Errorf("%d questions to the outbox while stopped", o.seen().takes)
				}
				broken.Store(false)
				eventually(t, 2*time.Minute, o.drained)
				if h := s.Health(); h.State != stateOK || h.Stopped || !h.NextProbe.IsZero() {
					t.Errorf("health %+v after healing", h)
				}
				stop()
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
					t.Errorf("%d error lines, want one per change of state:\n%s", n, &log)
				}
				for _, private := range []string{"s3cret", "example.test"} {
					if strings.Contains(log.String(), private) {
						t.Errorf("the log says %q", private)
					}
				}
			})
		})
	}
}

func TestANewConfigurationIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		bad := &wire{t: t, answer: func(sentRequest) (*http.Response, error) {
			return fail(401, "Authentication required", "mismatch"), nil
		}}
		s, stop := run(t, testConfig(bad), o)
		defer stop()
		o.attribute("ann")
		eventually(t, 5*time.Second, func() bool { return s.Health().Stopped })
		good := &wire{t: t}
		s.Reconfigure(testConfig(good))
		eventually(t, time.Second, o.drained)
		if s.Health().State != stateOK {
			t.Errorf("health %+v", s.Health())
		}
	})
}

// The loop reads the configuration while a reload may replace it. The race detector checks this.
func TestTheLoopReadsTheConfigurationOfAReloadUnderItsLock(t *testing.T) {
	c := testConfig(&wire{t: t})
	c.Endpoint = domain.EndpointCohort
	o := &endpointsAsked{shelf: newShelf(t)}
	s := New(c, o, quiet())
	d := dispatcher{Sender: s, ctx: t.Context(), lasting: t.Context()}
	var reloads sync.WaitGroup
	reloads.Go(func() {
		for range 100 {
			s.Reconfigure(c)
		}
	})
	for range 100 {
		d.askAt = time.Time{}
		if _, err := d.dispatch(); err != nil {
			t.Fatal(err)
		}
	}
	reloads.Wait()
	if len(o.asked) != 100 || slices.ContainsFunc(o.asked, func(e domain.Endpoint) bool { return e != domain.EndpointCohort }) {
		t.Errorf("asked about the endpoints %v, want that of cohorts 100 times", o.asked)
	}
}

// endpointsAsked is a shelf that records the endpoints it is asked for.
type endpointsAsked struct {
	*shelf
	asked []domain.Endpoint
}

func (o *endpointsAsked) Take(ctx context.Context, opts domain.TakeOptions) (*domain.Lease, domain.Next, error) {
	o.asked = append(o.asked, opts.Endpoint)
	return o.shelf.Take(ctx, opts)
}

// poisoned answers as MoEngage does for bad elements: it refuses the whole request without naming them.
func poisoned(bad map[string]bool, refusal func() *http.Response) func(sentRequest) (*http.Response, error) {
	return func(r sentRequest) (*http.Response, error) {
		if slices.ContainsFunc(r.ids, func(id string) bool { return bad[id] }) {
			return refusal(), nil
		}
		return ok(), nil
	}
}

func TestSevenPoisonedInAThousand(t *testing.T) {
	refusals := map[string]func() *http.Response{
		codeData:        func() *http.Response { return fail(400, "TypeError", "expected string") },
		codeUnexplained: func() *http.Response { return reply(400, "<html>Bad Request</html>") },
	}
	for code, refusal := range refusals {
		t.Run(code, func(t *testing.T) {
			worst, total := 0, 0
			const rounds = 5
			for range rounds {
				synctest.Test(t, func(t *testing.T) {
					o := newShelf(t)
					bad := map[string]bool{}
					for len(bad) < 7 {
						bad[fmt.Sprint("u", rand.IntN(1000))] = true
					}
					w := &wire{t: t, latency: 5 * time.Millisecond, answer: poisoned(bad, refusal)}
					c := testConfig(w)
					c.MaxRequestBytes = 1_000_000
					c.Concurrency = 1
					for i := range 1000 {
						o.attribute(fmt.Sprint("u", i))
					}
					_, stop := run(t, c, o)
					eventually(t, 10*time.Minute, o.drained)
					stop()
					if o.seen().delivered != 993 || len(o.seen().parked) != 7 {
						t.Fatalf("%d delivered, %d parked", o.seen().delivered, len(o.seen().parked))
					}
					for who, r := range o.seen().parked {
						if !bad[strings.TrimSuffix(who, "/attributes")] {
							t.Errorf("%s is parked and was not poisoned", who)
						}
						if r.Reason != code || r.Answer.Status != 400 || r.Answer.Body == "" {
							t.Errorf("%s is parked as %+v", who, r)
						}
					}
					if o.seen().refused+o.seen().uncertain != 0 {
						t.Errorf("attempts of %d good ones were counted", o.seen().refused+o.seen().uncertain)
					}
					worst, total = max(worst, w.count()), total+w.count()
				})
			}
			// 7 x (ceil(log2 1000) + 2), and one request for the untested rest.
			if bound := 7*12 + 1; worst > bound {
				t.Errorf("%d requests, want at most %d", worst, bound)
			}
			t.Logf("%d requests on average, %d at worst", total/rounds, worst)
		})
	}
}

// An undocumented refusal parks no user before something else was accepted. With other users present it parks
// only the bad element, even if the breaker was open meanwhile.
func TestALonelySuspectWaitsForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: poisoned(map[string]bool{"bad": true}, func() *http.Response { return fail(400, "SomethingNew", "no") })}
		s, stop := run(t, testConfig(w), o)
		defer stop()
		o.attribute("bad")
		time.Sleep(5 * time.Minute)
		if !s.Health().Stopped || len(o.seen().parked) != 0 {
			t.Fatalf("health %+v, %d parked: want sending stopped and nothing parked", s.Health(), len(o.seen().parked))
		}
		o.attribute("ann")
		eventually(t, 5*time.Minute, o.drained)
		if _, parked := o.seen().parked["bad/attributes"]; !parked || o.seen().delivered != 1 {
			t.Errorf("parked %v, delivered %d", o.seen().parked, o.seen().delivered)
		}
		if s.Health().State != stateOK {
			t.Errorf("health %+v", s.Health())
		}
	})
}

func TestAttributesAndEventOfAUserAreJudgedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: poisoned(map[string]bool{"!bob": true}, func() *http.Response { return fail(400, "AttributeError", "action") })}
		_, stop := run(t, testConfig(w), o)
		defer stop()
		for _, u := range []string{"ann", "bob", "cyd"} {
			o.attribute(u)
			o.event(u)
		}
		eventually(t, time.Minute, o.drained)
		if _, parked := o.seen().parked["bob/event"]; !parked || len(o.seen().parked) != 1 || o.seen().delivered != 5 {
			t.Errorf("parked %v, delivered %d", o.seen().parked, o.seen().delivered)
		}
	})
}

func TestTooLargeForMoEngageIsSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: func(r sentRequest) (*http.Response, error) {
			if r.users > 30 || slices.Contains(r.ids, "huge") {
				return fail(413, "Payload too large", "Payload can not exceed 128KB"), nil
			}
			return ok(), nil
		}}
		_, stop := run(t, testConfig(w), o)
		defer stop()
		for i := range 100 {
			o.attribute(fmt.Sprint("user-", i))
		}
		o.attribute("huge")
		eventually(t, time.Minute, o.drained)
		r, parked := o.seen().parked["huge/attributes"]
		if !parked || r.Reason != codeTooLarge || o.seen().delivered != 100 {
			t.Errorf("parked %v, delivered %d", o.seen().parked, o.seen().delivered)
		}
	})
}

func TestAttemptsCanRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) { return reply(500, "oops"), nil }}
		c := testConfig(w)
		c.MaxAttempts = 3
		_, stop := run(t, c, o)
		defer stop()
		o.attribute("ann")
		eventually(t, time.Minute, o.drained)
		r := o.seen().parked["ann/attributes"]
		if want := "The last answer: " + meanings["http_500"].Means; r.Reason != codeAttempts || w.count() != 3 || r.Answer.Status != 500 || !strings.Contains(r.Sentence, want) {
			t.Errorf("parked as %+v after %d requests", r, w.count())
		}
	})
}

// Parked changes need an operator, so the log has their number and reason. MoEngage's message may contain user
// ids, so it is not logged.
func TestParkedElementsAreInTheLogWithTheirNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		bad := map[string]bool{"ann": true, "bob": true}
		o, w := newShelf(t), &wire{t: t, answer: poisoned(bad, func() *http.Response { return fail(400, "AttributeError", "no") })}
		_, stop := runLogged(t, testConfig(w), o, slog.New(slog.NewTextHandler(&log, nil)))
		for _, u := range []string{"ann", "bob", "cid"} {
			o.attribute(u)
		}
		eventually(t, time.Minute, o.drained)
		stop()
		parked, told := o.seen().parked, 0
		for line := range strings.Lines(log.String()) {
			if _, figures, found := strings.Cut(line, "changes were parked"); found {
				_, figures, _ = strings.Cut(figures, " count=")
				n := 0
				if _, err := fmt.Sscanf(figures, "%d code="+codeData, &n); err != nil {
					t.Errorf("%v: %s", err, line)
				}
				told += n
			}
		}
		if len(parked) != 2 || told != 2 || strings.Contains(log.String(), "ann") {
			t.Errorf("%d are parked; the log tells of %d, or names one:\n%s", len(parked), told, &log)
		}
	})
}

// With ten thousand users a minute for ever, no window of sixty seconds has more, whether MoEngage counts a
// request at its arrival or at its answer, and the limit is used.
func TestSustainedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10_000
		o := newShelf(t)
		w := &wire{t: t, latency: 180 * time.Millisecond}
		c := testConfig(w)
		c.UsersPerMinute = limit
		c.EventsPerMinute = 30_000
		for i := range 3*limit + 2000 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := run(t, c, o)
		start := time.Now()
		time.Sleep(3*time.Minute + time.Second)
		stop()

		sent := 0
		perSecond := map[int]int{}
		for i, r := range w.seen() {
			if r.users > limit/60 {
				t.Fatalf("a request carried %d users, more than a sixtieth of the limit", r.users)
			}
			sent += r.users
			perSecond[int(r.at.Sub(start).Seconds())] += r.users
			in := 0
			for _, later := range w.seen()[i:] {
				// One is counted at the end of its round trip, the other at its beginning.
				if later.at.Sub(r.at.Add(w.latency)) < time.Minute {
					in += later.users
				}
			}
			if in > limit {
				t.Fatalf("%d users in the minute after %v", in, r.at.Sub(start))
			}
		}
		if use := float64(sent) / (3 * limit); use < 0.97 {
			t.Errorf("%d users in three minutes: %.1f %% of the limit", sent, 100*use)
		}
		// After the first window, which was unused and so not paced, it is an even stream.
		for second := 65; second < 180; second++ {
			if n := perSecond[second] + perSecond[second+1]; n > 4*limit/60 {
				t.Errorf("%d users in two seconds at %d s: a burst", n, second)
			}
		}
		t.Logf("%d users in three minutes, %d requests", sent, len(w.seen()))
	})
}

func TestLimitsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t}
		c := testConfig(w)
		c.UsersPerMinute = 600
		start := time.Now()
		o.sent = []domain.SentSecond{{At: start.Add(-30 * time.Second), Users: 595}}
		for i := range 100 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := run(t, c, o)
		defer stop()
		time.Sleep(25 * time.Second)
		if n := w.count(); n != 0 {
			t.Errorf("%d requests although the last process had spent the limit", n)
		}
		eventually(t, time.Minute, o.drained)
		if first := w.seen()[0].at.Sub(start); first > 32*time.Second {
			t.Errorf("the first left after %v", first)
		}
	})
}

// A request without a connection must not count against the limits after a restart either. The outbox, which
// remembers the counts for the next process, is told.
func TestWhatNeverLeftIsReportedAsNotSent(t *testing.T) {
	tests := []struct {
		name    string
		answer  func() (*http.Response, error)
		notSent bool
	}{
		{"refused connection", func() (*http.Response, error) { return nil, cut() }, true},
		{"no such host", func() (*http.Response, error) { return nil, noSuchHost() }, true},
		{"distrusted certificate", func() (*http.Response, error) { return nil, distrust() }, true},
		{"broken connection", func() (*http.Response, error) { return nil, reset() }, false},
		{"clear refusal", func() (*http.Response, error) { return reply(503, ""), nil }, false},
		{"success", func() (*http.Response, error) { return ok(), nil }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newShelf(t)
				w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) { return tt.answer() }}
				_, stop := run(t, testConfig(w), o)
				defer stop()
				o.attribute("ann")
				eventually(t, 10*time.Second, func() bool { return o.seen().settles > 0 })
				if tally := o.seen(); (tally.notSent == tally.settles) != tt.notSent || tally.notSent > 0 != tt.notSent {
					t.Errorf("%d of %d leases did not leave, want all of them: %v", tally.notSent, tally.settles, tt.notSent)
				}
			})
		})
	}
}

func TestAnUnspentWindowIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: 10 * time.Millisecond}
		c := testConfig(w)
		c.UsersPerMinute = 6000
		for i := range 6000 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := run(t, c, o)
		defer stop()
		eventually(t, 5*time.Second, o.drained)
	})
}

func TestACronJobWaitsForItsReleaseAndDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		o := newShelf(t)
		w := &wire{t: t, latency: 50 * time.Millisecond, answer: func(sentRequest) (*http.Response, error) {
			if down.Load() {
				return nil, cut()
			}
			return ok(), nil
		}}
		c := testConfig(w)
		c.Realtime = func(job string) bool { return job != "nightly" }
		s, stop := run(t, c, o)
		defer stop()

		o.put("early", "nightly", true, true)
		o.put("live", "", true, false)
		time.Sleep(time.Hour)
		if !slices.Equal(w.taken(), []string{"live"}) {
			t.Fatalf("accepted %v before they were released", w.taken())
		}
		upTo := time.Now()
		time.Sleep(2 * time.Second)
		o.put("late", "nightly", true, false)
		down.Store(true)
		drained := s.Open("nightly", upTo, nil)
		time.Sleep(30 * time.Second)
		select {
		case <-drained:
			t.Fatal("drained while its changes wait for a retry")
		default:
		}
		down.Store(false)
		<-drained
		if want := []string{"live", "early", "!early"}; !slices.Equal(w.taken(), want) {
			t.Errorf("accepted %v, want %v", w.taken(), want)
		}
		time.Sleep(time.Hour)
		if len(w.taken()) != 3 {
			t.Errorf("accepted %v: a drained release lets changes go", w.taken())
		}
		<-s.Open("nightly", time.Now(), nil)
		if len(w.taken()) != 4 {
			t.Errorf("accepted %v", w.taken())
		}
		<-s.Open("nightly", time.Now(), nil) // of an empty queue: at once
	})
}

// One job's change is refused all the time. Another job, with nothing left, drains; the failing job does not.
func TestAReleaseDrainsThroughAnotherJobsTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, latency: 50 * time.Millisecond, answer: func(r sentRequest) (*http.Response, error) {
			if slices.Contains(r.ids, "bob") {
				return reply(503, ""), nil
			}
			return ok(), nil
		}}
		c := testConfig(w)
		c.Realtime = func(job string) bool { return false }
		s, stop := run(t, c, o)
		defer stop()
		o.put("bob", "two", true, false)
		time.Sleep(2 * time.Second)
		trouble := s.Open("two", time.Now(), nil)
		time.Sleep(time.Minute)
		drained := s.Open("one", time.Now(), nil)
		select {
		case <-drained:
		case <-time.After(20 * time.Minute):
			t.Error("the release of a job is open because of another job")
		}
		select {
		case <-trouble:
			t.Error("drained while its change waits for a retry")
		default:
		}
	})
}

// If more users wait for a retry than the outbox reports by job, a release stays open until none does.
func TestAReleaseIsOpenWhileNobodySaysWhoseRetriesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		o := &manyRetries{newShelf(t)}
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) {
			if down.Load() {
				return reply(503, ""), nil
			}
			return ok(), nil
		}}
		c := testConfig(w)
		c.Realtime = func(string) bool { return false }
		s, stop := run(t, c, o)
		defer stop()
		o.put("ann", "nightly", true, false)
		time.Sleep(2 * time.Second)
		drained := s.Open("nightly", time.Now(), nil)
		select {
		case <-drained:
			t.Error("drained while a change of unknown job waits for a retry")
		case <-time.After(10 * time.Minute):
		}
		down.Store(false)
		select {
		case <-drained:
		case <-time.After(2 * time.Minute):
			t.Error("not drained when nothing is left")
		}
	})
}

// manyRetries is a shelf that does not report the jobs of retries, as the store does if there are too many.
type manyRetries struct{ *shelf }

func (o *manyRetries) Take(ctx context.Context, opts domain.TakeOptions) (*domain.Lease, domain.Next, error) {
	f, next, err := o.shelf.Take(ctx, opts)
	next.RetryJobs = nil
	return f, next, err
}

func TestFlushSendsWhatWaitsForAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		o := newShelf(t)
		w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) {
			if down.Load() {
				return reply(503, "", "Retry-After", "600"), nil
			}
			return ok(), nil
		}}
		c := testConfig(w)
		c.MaxDelay = time.Minute
		c.Realtime = func(job string) bool { return job == "" }
		s, stop := run(t, c, o)
		defer stop()
		o.put("ann", "", true, false)
		o.put("bob", "nightly", true, false)
		time.Sleep(70 * time.Second) // ann has been refused for ten minutes
		o.put("cyd", "", true, false)
		if n := w.count(); n != 1 {
			t.Fatalf("%d requests before the flush", n)
		}
		s.Flush(nil, nil)
		time.Sleep(5 * time.Second)
		if n := w.count(); n != 2 {
			t.Fatalf("%d requests by a flush into an outage, want one", n-1)
		}
		down.Store(false)
		s.Flush(nil, nil)
		eventually(t, time.Second, o.drained)
	})
}

// A flush that began while the outbox was asked had been forgotten with the answer, so retries waited for their time.
func TestAFlushDuringAQuestionTakesRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: poisoned(map[string]bool{"ann": true}, func() *http.Response { return reply(500, "") })}
		s, stop := run(t, testConfig(w), o)
		defer stop()
		triedAnn := func() (n int) {
			for _, r := range w.seen() {
				if slices.Contains(r.ids, "ann") {
					n++
				}
			}
			return n
		}
		o.attribute("ann")
		for i := 0; o.retryOf("ann").Before(time.Now().Add(time.Minute)); i++ {
			o.attribute(fmt.Sprint("user-", i))
			time.Sleep(5 * time.Second)
		}
		before, flushed := triedAnn(), false
		o.fail(func() error {
			if !flushed {
				flushed = true
				s.Flush(nil, nil)
			}
			return nil
		}, nil)
		o.attribute("late")
		time.Sleep(900 * time.Millisecond) // the jitter of the next retry may be as short as a second
		if n := triedAnn() - before; n != 1 {
			t.Errorf("a retry was tried %d times by the flush, want once", n)
		}
	})
}

func TestFlushOfOneJobLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t}
		c := testConfig(w)
		c.Realtime = func(string) bool { return false }
		s, stop := run(t, c, o)
		defer stop()
		o.put("ann", "one", true, false)
		o.put("bob", "two", true, false)
		time.Sleep(time.Second)
		one := "one"
		s.Flush(&one, nil)
		time.Sleep(time.Minute)
		if !slices.Equal(w.taken(), []string{"ann"}) {
			t.Errorf("accepted %v, want ann alone", w.taken())
		}
	})
}

func TestFlushOfOneJobLeavesTheRetriesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, answer: func(r sentRequest) (*http.Response, error) {
			if slices.Contains(r.ids, "bob") {
				return reply(429, "", "Retry-After", "600"), nil
			}
			return ok(), nil
		}}
		c := testConfig(w)
		c.Realtime = func(job string) bool { return job == "two" }
		s, stop := run(t, c, o)
		defer stop()
		o.put("bob", "two", true, false)
		o.put("ann", "one", true, false)
		time.Sleep(5 * time.Second)
		one := "one"
		s.Flush(&one, nil)
		time.Sleep(time.Minute)
		if !slices.Equal(w.taken(), []string{"ann"}) || w.count() != 2 {
			t.Errorf("accepted %v in %d requests, want ann, and bob's retry left to its time", w.taken(), w.count())
		}
	})
}

// A stop lets requests in flight finish, starts none, and settles all of them.
func TestStoppingFinishesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: 20 * time.Second}
		c := testConfig(w)
		c.MaxRequestBytes = 400
		for i := range 100 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := run(t, c, o)
		time.Sleep(3 * time.Second)
		before := w.count()
		stop()
		if before != 4 || w.count() != before {
			t.Errorf("%d requests before the stop, %d after", before, w.count())
		}
		if o.seen().settles != 4 || o.seen().flying != 0 || o.seen().delivered == 0 {
			t.Errorf("%d settled, %d flights left, %d delivered", o.seen().settles, o.seen().flying, o.seen().delivered)
		}
	})
}

func TestStoppingIsBoundedByTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: time.Hour}
		_, stop := run(t, testConfig(w), o)
		o.attribute("ann")
		time.Sleep(5 * time.Second)
		start := time.Now()
		stop()
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if o.seen().uncertain != 1 {
			t.Errorf("%d uncertain, want the one that got no answer", o.seen().uncertain)
		}
	})
}

// A search interrupted by a stop leaves the rest untried.
func TestStoppingEndsASearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		w := &wire{t: t, latency: time.Second, answer: func(sentRequest) (*http.Response, error) { return fail(400, "TypeError", "no"), nil }}
		_, stop := run(t, testConfig(w), o)
		for i := range 100 {
			o.attribute(fmt.Sprint("user-", i))
		}
		eventually(t, 10*time.Second, func() bool { return w.count() == 3 })
		stop()
		if o.seen().untried != 100 || w.count() != 3 {
			t.Errorf("%d untried, %d requests", o.seen().untried, w.count())
		}
	})
}

// A stop waits for an outcome to be written for the timeout of a request and five seconds, and no longer.
func TestAStopWaitsForOutcomesOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t}
		o.fail(nil, func() error { return errors.New("input/output error") })
		c := testConfig(w)
		c.Timeout = 20 * time.Second
		_, stop := run(t, c, o)
		o.attribute("ann")
		time.Sleep(time.Minute)
		start := time.Now()
		stop()
		if took := time.Since(start); took != 25*time.Second {
			t.Errorf("the stop took %v, want 25 s", took)
		}
	})
}

func TestAFailingOutboxIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t}
		var broken atomic.Bool
		broken.Store(true)
		flaky := func() error {
			if broken.Load() {
				return errors.New("no space left on device")
			}
			return nil
		}
		o.fail(flaky, nil)
		_, stop := run(t, testConfig(w), o)
		defer stop()
		o.attribute("ann")
		time.Sleep(10 * time.Minute)
		if o.seen().takes > 40 {
			t.Errorf("a broken outbox was asked %d times in ten minutes", o.seen().takes)
		}
		broken.Store(false)
		eventually(t, time.Minute, o.drained)

		broken.Store(true)
		o.fail(nil, flaky)
		o.attribute("bob")
		time.Sleep(10 * time.Minute)
		if n := w.count(); n != 2 {
			t.Errorf("%d requests: what could not be settled was sent again", n-1)
		}
		broken.Store(false)
		eventually(t, time.Minute, o.drained)
	})
}

// A failing outbox is logged at once, and once, whichever way it fails.
func TestAFailingOutboxIsInTheLogFromTheFirstFaultOn(t *testing.T) {
	broken := func() error { return errors.New("no space left on device") }
	for name, fail := range map[string]func(o *shelf){
		"take":   func(o *shelf) { o.fail(broken, nil) },
		"settle": func(o *shelf) { o.fail(nil, broken) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				o, w := newShelf(t), &wire{t: t}
				fail(o)
				_, stop := runLogged(t, testConfig(w), o, slog.New(slog.NewTextHandler(&log, nil)))
				o.attribute("ann")
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if n := strings.Count(log.String(), "no space left on device"); n != 1 {
					t.Errorf("said %d times:\n%s", n, &log)
				}
				o.fail(nil, nil)
				eventually(t, time.Minute, o.drained)
				stop()
			})
		})
	}
}

// A stop had waited as long as for the longest request.
func TestAStopDoesNotWaitForAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		o.fail(nil, func() error { return domain.ErrFull })
		_, stop := run(t, testConfig(&wire{t: t}), o)
		o.attribute("ann")
		time.Sleep(time.Minute)
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the stop took %s", took)
		}
	})
}

func TestAClosedOutboxEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newShelf(t)
		o.fail(func() error { return domain.ErrClosed }, nil)
		if err := New(testConfig(&wire{t: t}), o, quiet()).Run(t.Context()); !errors.Is(err, domain.ErrClosed) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// Changes that fit no request are parked without one and delay no others.
func TestOversizedAndBrokenChangesAreParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t}
		c := testConfig(w)
		c.MaxRequestBytes = 2000
		_, stop := run(t, c, o)
		defer stop()
		for _, u := range []string{"ann", "big", "torn", "cyd"} {
			o.attribute(u)
			o.event(u)
		}
		o.mu.Lock()
		o.byName["big"].attributes[0].Value = []byte(`"` + strings.Repeat("x", 3000) + `"`)
		o.byName["torn"].events[0].Value = []byte(`{"half":`)
		o.mu.Unlock()
		eventually(t, time.Minute, o.drained)
		if len(o.seen().parked) != 2 || o.seen().parked["big/attributes"].Reason != codeTooLarge || o.seen().parked["torn/event"].Reason != codeUnencodable {
			t.Errorf("parked %v", o.seen().parked)
		}
		if o.seen().delivered != 6 {
			t.Errorf("%d delivered, want 6", o.seen().delivered)
		}
	})
}

func TestRequestsAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: 70 * time.Millisecond}
		var seen []Report
		c := testConfig(w)
		c.Observe = func(r Report) { seen = append(seen, r) }
		_, stop := run(t, c, o)
		o.attribute("ann")
		o.event("ann")
		eventually(t, time.Minute, o.drained)
		stop()
		want := Report{Code: codeAccepted, Status: 200, Users: 1, Events: 1, Bytes: w.seen()[0].bytes, Took: 70 * time.Millisecond}
		if len(seen) != 1 || seen[0] != want {
			t.Errorf("observed %+v, want %+v", seen, want)
		}
	})
}

// TestAPausedSenderBeginsNothing until the pause is over, or until it is ended.
func TestAPausedSenderBeginsNothing(t *testing.T) {
	for _, ended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o, w := newShelf(t), &wire{t: t, latency: 70 * time.Millisecond}
			s, stop := run(t, testConfig(w), o)
			defer stop()
			began := time.Now()
			s.Pause(began.Add(time.Hour))
			o.attribute("ann")
			s.Flush(nil, nil)
			time.Sleep(40 * time.Minute)
			if n := len(w.seen()); n != 0 {
				t.Fatalf("%d requests during a pause", n)
			}
			want := time.Hour
			if ended {
				want = 40 * time.Minute
				s.Pause(time.Time{})
			}
			eventually(t, time.Hour, o.drained)
			if took := time.Since(began); took < want || took > want+time.Minute {
				t.Errorf("ended %v: it was sent after %v", ended, took)
			}
		})
	}
}

// TestAChangeIsReportedOnceWithItsDelay: a failed request reports nothing, and the wait for a retry is part of the delay.
func TestAChangeIsReportedOnceWithItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 1
		o, w := newShelf(t), &wire{t: t, latency: 70 * time.Millisecond, answer: func(sentRequest) (*http.Response, error) {
			if failures--; failures >= 0 {
				return fail(503, "Server Error", "later"), nil
			}
			return ok(), nil
		}}
		delays := map[domain.Kind][]time.Duration{}
		c := testConfig(w)
		c.Accepted = func(kind domain.Kind, delay time.Duration) { delays[kind] = append(delays[kind], delay) }
		_, stop := run(t, c, o)
		o.attribute("ann")
		o.event("ann")
		began := time.Now()
		eventually(t, time.Minute, o.drained)
		took := time.Since(began)
		stop()
		for _, kind := range []domain.Kind{domain.KindAttribute, domain.KindEvent} {
			if d := delays[kind]; len(d) != 1 || d[0] < 140*time.Millisecond || d[0] > took+time.Second {
				t.Errorf("%v reported %v, drained after %v", kind, d, took)
			}
		}
	})
}

// A search for bad data keeps the rate limit, too: its requests wait until the limit admits them.
func TestASearchKeepsTheRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 240 // so a request has at most four users
		o := newShelf(t)
		w := &wire{t: t, latency: 10 * time.Millisecond, answer: func(sentRequest) (*http.Response, error) {
			return fail(400, "TypeError", "expected string"), nil
		}}
		c := testConfig(w)
		c.UsersPerMinute = limit
		for i := range 400 {
			o.attribute(fmt.Sprint("user-", i))
		}
		_, stop := run(t, c, o)
		defer stop()
		eventually(t, time.Hour, o.drained)
		if n := len(o.seen().parked); n != 400 {
			t.Errorf("%d are parked", n)
		}
		requests, first, users, split := w.seen(), 0, 0, 0
		for _, r := range requests {
			for users += r.users; r.at.Sub(requests[first].at) >= ratelimit.Window; first++ {
				users -= requests[first].users
			}
			if users > limit {
				t.Fatalf("%d users within a minute", users)
			}
			if r.users == 1 {
				split++
			}
		}
		if split == 0 {
			t.Error("no request was split")
		}
	})
}

// The releases are told what is pending while the breaker defers requests. If the outbox fails then, the loop backs
// off as after any of its failures.
func TestAPeekThatFailsIsRetriedLater(t *testing.T) {
	c := testConfig(&wire{t: t})
	o := newShelf(t)
	s := New(c, o, quiet())
	d := dispatcher{Sender: s, ctx: t.Context(), lasting: t.Context()}
	s.releases.add(&release{job: "nightly", upTo: time.Now(), drained: make(chan struct{})})
	s.releases.leased(1)
	s.releases.settled(1, true)
	s.diagnosis.record(s.cfg, posted{users: []string{"ann"}, started: time.Now()}, answer{Meaning: meanings["http_401"], at: time.Now()})
	o.fail(func() error { return errors.New("disk on fire") }, nil)
	if _, err := d.dispatch(); err != nil || d.faults != 1 || d.askAt.IsZero() {
		t.Errorf("%v, %d faults, ask at %v", err, d.faults, d.askAt)
	}
	if _, err := d.dispatch(); err != nil || d.faults != 1 || o.seen().takes != 1 {
		t.Errorf("%v, %d faults, %d questions: a peek must not be repeated at once", err, d.faults, o.seen().takes)
	}
	o.fail(nil, nil)
	d.faults = 0
	if _, err := d.dispatch(); err != nil || o.seen().takes != 2 {
		t.Errorf("%v, %d questions", err, o.seen().takes)
	}
	if len(s.releases.open) != 1 { // the release's first real question is still to come
		t.Error("a peek drained a release")
	}
	o.fail(func() error { return domain.ErrClosed }, nil)
	s.releases.leased(2)
	s.releases.settled(2, true)
	if _, err := d.dispatch(); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed outbox: %v", err)
	}
}
