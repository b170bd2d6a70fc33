package sandbox

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseFault(t *testing.T) {
	tests := []struct {
		spec string
		want Fault
	}{
		{"status=503,for=10s", Fault{Status: 503, For: 10 * time.Second}},
		{"status=429,retry_after=3", Fault{Status: 429, RetryAfter: 3 * time.Second}},
		{" status=503 , count=5 ", Fault{Status: 503, Count: 5}},
		{"reset", Fault{Reset: true}},
		{"reset,when=after", Fault{Reset: true, When: "after"}},
		{"hang,for=5s", Fault{Hang: true, For: 5 * time.Second}},
		{"slow=2s", Fault{Slow: 2 * time.Second}},
		{"drip=2s,count=3", Fault{Drip: 2 * time.Second, Count: 3}},
		{"body=html", Fault{HTML: true}},
		{"truncate", Fault{Truncate: true}},
		{"status=200,error=AttributeError", Fault{Status: 200, Error: "AttributeError"}},
		{"status=400,type=Blacklisted", Fault{Status: 400, Type: "Blacklisted"}},
		{"user=ID,every=2,first=9", Fault{User: "ID", Every: 2, First: 9}},
		{"reset,at=7", Fault{Reset: true, At: 7}},
		{"redirect=https://x/?a=b", Fault{Redirect: "https://x/?a=b"}},
		{"status=429,ratelimit=epoch,on=cohortsync", Fault{Status: 429, RateLimit: "epoch", On: "cohortsync"}},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			got, err := ParseFault(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if again, err := ParseFault(got.String()); again != got || err != nil {
				t.Errorf("%q reads back as %+v, %v", got.String(), again, err)
			}
		})
	}
}

func TestParseFaultSaysWhatIsKnown(t *testing.T) {
	tests := []struct{ spec, says string }{
		{"", `unknown word ""; use one of status=CODE, type=`},
		{"stauts=503", `unknown word "stauts"; use one of status=CODE`},
		{"status", "write status=CODE"},
		{"status=", "write status=CODE"},
		{"reset=yes", "write reset"},
		{"status=abc", "status=abc is not a positive number; write status=CODE"},
		{"status=600", "status=600 is not a status that can be answered; use 200 to 599"},
		{"status=200", "status=200 alone is no fault; add error, body or truncate"},
		{"status=503,status=500", `"status" is given twice`},
		{"for=10s", "nothing happens: add one of status"},
		{"status=503,for=10", "for=10 is not a positive duration; write for=DURATION"},
		{"reset,status=503", "exclude each other"},
		{"type=Nonsense", `type "Nonsense" is not documented; use one of MissingAttributeError, `},
		{"error=X,status=400", "use type for other statuses"},
		{"reset,when=then", "write before or after"},
		{"reset,on=nothing", "use one of transition, customer, event, cohortsync, export, authentication, segment, device, delete, merge"},
		{"body=xml", "body=xml is not known; write body=html"},
		{"status=429,ratelimit=x", "write seconds, epoch or none"},
		{"status=429,retry_after=-1", "not a number of seconds"},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			_, err := ParseFault(tt.spec)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}

// fail starts a fault as an operator does.
func (s *served) fail(spec string) {
	s.t.Helper()
	got := s.post("/sandbox/fail", spec)
	wantStatus(s.t, got, 200)
}

func (s *served) wantStored(user string, want bool) {
	s.t.Helper()
	if _, ok := s.User(user); ok != want {
		s.t.Errorf("%s is stored: %v, want %v", user, ok, want)
	}
}

func TestOutageByCount(t *testing.T) {
	s := serve(t, Options{})
	s.fail("status=503,count=2")
	for range 2 {
		got := s.bulk(fine)
		wantStatus(t, got, 503)
		if !strings.Contains(got.body, `"type":"Server Error"`) {
			t.Errorf("body %s", got.body)
		}
	}
	s.wantStored("user-1", false)
	wantStatus(t, s.bulk(fine), 200)
	s.wantStored("user-1", true)
	if st := s.Stats(); st.Faulted != 2 || len(st.Faults) != 0 || st.ByStatus[503] != 2 {
		t.Errorf("stats %+v", st)
	}
	if got := s.Requests()[0]; got.Fault != "status=503,count=2" || got.Stored || got.Status != 503 || got.Users != 1 {
		t.Errorf("recorded as %+v", got)
	}
}

func TestOutageByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Faults: []Fault{{Status: 502, For: 10 * time.Second}}})
		wantStatus(t, send(t, s, fine), 502)
		time.Sleep(10*time.Second - 1)
		wantStatus(t, send(t, s, fine), 502)
		time.Sleep(time.Nanosecond)
		wantStatus(t, send(t, s, fine), 200)
	})
}

func TestOrderedRateLimit(t *testing.T) {
	s := serve(t, Options{})
	for _, tt := range []struct {
		spec       string
		retryAfter string
		hasReset   bool
		epoch      bool
	}{
		{"status=429,retry_after=3,count=1", "3", true, false},
		{"status=429,count=1", "", true, false},
		{"status=429,ratelimit=none,count=1", "", false, false},
		{"status=429,ratelimit=epoch,count=1", "", true, true},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			s.fail(tt.spec)
			got := s.bulk(fine)
			wantStatus(t, got, 429)
			reset := got.header.Get(resetHeader)
			if got.header.Get("Retry-After") != tt.retryAfter || (reset != "") != tt.hasReset || (len(reset) > 2) != tt.epoch {
				t.Errorf("headers %v", got.header)
			}
		})
	}
	if n := s.Stats().Limited; n != 0 {
		t.Errorf("%d ordered refusals count as the sender's", n)
	}
}

func TestResetBeforeStoring(t *testing.T) {
	s := serve(t, Options{})
	s.fail("reset,count=1")
	_, err := s.try(bulkPath, bulkBody(fine))
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want a broken connection", err)
	}
	s.wantStored("user-1", false)
	if got := s.Requests()[0]; got.Status != 0 || got.Stored {
		t.Errorf("recorded as %+v", got)
	}
}

func TestResetAfterStoringMakesARepeatedEvent(t *testing.T) {
	s := serve(t, Options{})
	s.fail("reset,when=after,count=1")
	body := bulkBody(eventOf("user-1", `{"action":"enter"}`))
	if _, err := s.try(bulkPath, body); err == nil {
		t.Fatal("the first request was answered")
	}
	wantStatus(t, s.post(bulkPath, body), 200)
	if n := len(s.Events("user-1")); n != 2 {
		t.Errorf("%d events, want both", n)
	}
	if got := s.Requests()[0]; got.Status != 0 || !got.Stored {
		t.Errorf("recorded as %+v", got)
	}
}

func TestHangUntilHealed(t *testing.T) {
	s := serve(t, Options{})
	s.fail("hang,count=1")
	failed := make(chan error)
	go func() {
		_, err := s.do(newRequest(t, s.url+bulkPath, bulkBody(fine)))
		failed <- err
	}()
	s.waitForRequests(1)
	wantStatus(t, s.bulk(customerOf("user-2", `{}`)), 200)
	wantStatus(t, s.post("/sandbox/heal", ""), 200)
	if err := <-failed; err == nil {
		t.Error("the hanging request was answered")
	}
	s.wantStored("user-1", false)
}

// waitForRequests waits until n requests were decided, even if they are not answered.
func (s *served) waitForRequests(n uint64) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Stats().Requests < n; {
		if time.Now().After(deadline) {
			s.t.Fatalf("%d requests have not arrived", n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestHangUntilTheFaultEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Faults: []Fault{{Hang: true, For: 5 * time.Second}}})
		began := time.Now()
		time.Sleep(2 * time.Second)
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler {
					t.Errorf("ended with %v, want a broken connection", got)
				}
			}()
			send(t, s, fine)
		}()
		if lasted := time.Since(began); lasted != 5*time.Second {
			t.Errorf("hung until %v, want 5s", lasted)
		}
		wantStatus(t, send(t, s, fine), 200)
	})
}

func TestSlowAddsToLatencyAndStoresAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Latency: time.Second, Faults: []Fault{{Slow: 2 * time.Second}, {Status: 503, Count: 1}}})
		for i, want := range []int{503, 200} {
			began := time.Now()
			wantStatus(t, send(t, s, fine), want)
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("request %d took %v, want 3s", i, took)
			}
		}
	})
}

func TestABodyDripsAndIsWhole(t *testing.T) {
	s := serve(t, Options{Faults: []Fault{{Drip: 100 * time.Millisecond, Count: 1}, {Status: 503, Count: 1}}})
	began := time.Now()
	r := s.bulk(fine)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("the body took %v, and should take 100ms", took)
	}
	if wantStatus(t, r, 503); !strings.Contains(r.body, "Server Error") {
		t.Errorf("body %q", r.body)
	}
}

func TestAnswersThatAreNotMoEngages(t *testing.T) {
	tests := []struct {
		spec   string
		status int
		says   string
		stored bool
	}{
		{"body=html", 200, "<html>", true},
		{"body=html,status=502", 502, "<html>", false},
		{"body=html,when=before", 200, "<html>", false},
		{"status=503,when=after", 503, "Server Error", true},
		{"status=200,error=AttributeError", 200, `{"status":"fail","error":{"attribute":"type"`, false},
		{"status=400,type=Blacklisted", 400, `"message":"Your account is blacklisted, Please contact MoEngage."`, false},
		{"type=Account Suspended", 403, `"type":"Account Suspended"`, false},
		{"status=401", 401, "App Secret key mismatch", false},
		{"status=409", 409, "Authentication Mismatch", false},
		{"status=418", 418, "I'm a teapot", false},
		{"status=204", 204, "", false},
		{"redirect=http://127.0.0.1:1/x", 307, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			s := serve(t, Options{})
			s.fail(tt.spec)
			got := s.bulk(fine)
			wantStatus(t, got, tt.status)
			if !strings.Contains(got.body, tt.says) || tt.says == "" && got.body != "" {
				t.Errorf("body %q, want %q in it", got.body, tt.says)
			}
			s.wantStored("user-1", tt.stored)
		})
	}
}

func TestRedirectNamesItsTarget(t *testing.T) {
	s := serve(t, Options{Faults: []Fault{{Redirect: "https://elsewhere/x", Status: 302}}})
	got := s.bulk(fine)
	wantStatus(t, got, 302)
	if to := got.header.Get("Location"); to != "https://elsewhere/x" {
		t.Errorf("to %q", to)
	}
}

func TestTruncatedBody(t *testing.T) {
	s := serve(t, Options{})
	s.fail("truncate,count=1")
	_, err := s.try(bulkPath, bulkBody(fine))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want half a body", err)
	}
	s.wantStored("user-1", true)
}

func TestPoisonRefusesOnlyRequestsWithThatUser(t *testing.T) {
	s := serve(t, Options{})
	s.fail("user=user-2")
	wantStatus(t, s.bulk(fine), 200)
	got := s.bulk(fine, customerOf("user-2", `{}`))
	wantStatus(t, got, 400)
	if !strings.Contains(got.body, `"type":"TypeError"`) {
		t.Errorf("body %s", got.body)
	}
	s.wantStored("user-2", false)
	s.Heal()
	wantStatus(t, s.bulk(customerOf("user-2", `{}`)), 200)
}

func TestWhichRequestsAreHit(t *testing.T) {
	tests := []struct {
		spec string
		want []int
	}{
		{"status=503,every=3", []int{200, 200, 503, 200, 200, 503}},
		{"status=503,first=2", []int{503, 503, 200, 200, 200, 200}},
		{"status=503,every=2,first=3", []int{200, 503, 200, 200, 200, 200}},
		{"status=503,every=2,count=2", []int{200, 503, 200, 503, 200, 200}},
		{"status=503,at=3", []int{200, 200, 503, 200, 200, 200}},
		{"status=503,on=cohortsync", []int{200, 200, 200, 200, 200, 200}},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			f, err := ParseFault(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			s := New(Options{Faults: []Fault{f}})
			for i, want := range tt.want {
				if got := send(t, s, fine); got.status != want {
					t.Errorf("request %d: %d, want %d", i+1, got.status, want)
				}
			}
		})
	}
}

func TestFirstOfSeveralFaultsAnswersAndTheOthersWait(t *testing.T) {
	s := New(Options{Faults: []Fault{{Status: 503, Count: 1}, {Status: 429, Count: 1}}})
	for _, want := range []int{503, 429, 200} {
		wantStatus(t, send(t, s, fine), want)
	}
}

func TestFailRefusesWhatItDoesNotKnow(t *testing.T) {
	s := serve(t, Options{})
	got := s.post("/sandbox/fail?spec=nonsense", "")
	wantStatus(t, got, 400)
	if !strings.Contains(got.body, "use one of") {
		t.Errorf("body %s", got.body)
	}
	got = s.post("/sandbox/fail?spec=status%3D503", "")
	wantStatus(t, got, 200)
	if !strings.Contains(got.body, `"status=503"`) {
		t.Errorf("body %s", got.body)
	}
}
