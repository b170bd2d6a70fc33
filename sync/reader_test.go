package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/sync/sandbox"
)

// straight passes requests to a handler without a network, so that they work in fake time.
type straight struct{ http.Handler }

func (s straight) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if broken(func() { s.ServeHTTP(w, r) }) {
		return nil, io.ErrUnexpectedEOF
	}
	return w.Result(), nil
}

// broken reports whether a handler broke the connection.
func broken(handle func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	handle()
	return false
}

// library returns a reader of a sandbox with users u0 to u{n-1}, all of them vip.
func library(t *testing.T, n int, o sandbox.Options) (*Reader, *sandbox.Sandbox) {
	t.Helper()
	o.WorkspaceID, o.APIKey = "WS", "s3cret-key"
	m := sandbox.New(o)
	for i := range n {
		body := fmt.Sprintf(`{"type":"customer","customer_id":"u%d","attributes":{"vip":true,"n":%d}}`, i, i)
		req := httptest.NewRequest(http.MethodPost, "/v1/customer/WS", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("MOE-APPKEY", "WS")
		req.SetBasicAuth("WS", "s3cret-key")
		w := httptest.NewRecorder()
		if m.ServeHTTP(w, req); w.Code != http.StatusOK {
			t.Fatal(w.Body)
		}
	}
	r := NewReader(Config{BaseURL: "http://moengage", WorkspaceID: "WS", APIKey: "s3cret-key", Transport: straight{m}})
	t.Cleanup(r.Close)
	return r, m
}

func userRange(from, to int) (users []string) {
	for i := from; i < to; i++ {
		users = append(users, fmt.Sprintf("u%d", i))
	}
	return users
}

func TestReadingBackTellsWhatMoEngageHolds(t *testing.T) {
	r, m := library(t, 3, sandbox.Options{})
	held, err := r.Read(t.Context(), []string{"u2", "nobody", "u0"}, []string{"vip", "absent"})
	if err != nil {
		t.Fatal(err)
	}
	if !held[0].Known || string(held[0].Attributes["vip"]) != "true" || held[0].Attributes["n"] != nil || held[0].Attributes["absent"] != nil {
		t.Errorf("u2: %+v", held[0])
	}
	if held[1].Known || !held[2].Known {
		t.Errorf("nobody: %+v, u0: %+v", held[1], held[2])
	}
	unviolated(t, m)
	if _, err := r.Read(t.Context(), userRange(0, 21), nil); err == nil {
		t.Error("21 users in one request")
	}
}

func TestReadingBackKeepsTheLimitOfAThousandAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := library(t, 2500, sandbox.Options{UsersPerMinute: -1})
		began := time.Now()
		for i := 0; i < 2500; i += MaxExport {
			if _, err := r.Read(t.Context(), userRange(i, i+MaxExport), []string{"vip"}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 2*time.Minute || took > 2*time.Minute+time.Second {
			t.Errorf("2,500 users took %v, want two minutes: 1,000 at once, and 1,000 a minute", took)
		}
		if n := m.Stats().Limited; n > 0 {
			t.Errorf("%d requests over the limit", n)
		}
	})
}

func TestReadingBackOutlivesTroubleThatPasses(t *testing.T) {
	for _, spec := range []string{"status=429,retry_after=3,count=2", "status=503,count=4", "reset,count=1", "truncate,count=1", "body=html,count=2"} {
		t.Run(spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, m := library(t, 3, sandbox.Options{})
				m.Fail(trouble(t, spec))
				began := time.Now()
				held, err := r.Read(t.Context(), userRange(0, 3), []string{"vip"})
				if err != nil || !held[2].Known {
					t.Errorf("%+v, %v", held, err)
				}
				if strings.HasPrefix(spec, "status=429") && time.Since(began) < 6*time.Second {
					t.Errorf("asked again after %v, though Retry-After said 3 s twice", time.Since(began))
				}
			})
		})
	}
}

func TestReadingBackGivesUpWithACode(t *testing.T) {
	for spec, code := range map[string]string{"status=503": "http_503", "status=401": "http_401", "status=400,type=Blacklisted": codeAccount, "body=html": codeUnreadable} {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, m := library(t, 3, sandbox.Options{})
				m.Fail(trouble(t, spec))
				_, err := r.Read(t.Context(), userRange(0, 3), []string{"vip"})
				refused := (*ReadError)(nil)
				if !errors.As(err, &refused) || refused.Code != code {
					t.Fatalf("error %v, want code %s", err, code)
				}
				if _, ok := Explain(refused.Code); !ok {
					t.Errorf("nobody explains %s", refused.Code)
				}
				if n := m.Stats().Requests - 3; n > exportTries {
					t.Errorf("%d requests", n)
				}
				if strings.Contains(err.Error(), "s3cret") {
					t.Errorf("the error tells the key: %v", err)
				}
			})
		})
	}
}

// Get User is off until a support ticket enables it. MoEngage does not document the answer of a workspace
// without it.
func TestARefusalToReadBackSaysThatGetUserMayBeOff(t *testing.T) {
	for _, spec := range []string{"status=403", "status=404", "status=405", "status=409", "status=422", "status=400,type=LimitBreached", "status=401"} {
		synctest.Test(t, func(t *testing.T) {
			r, m := library(t, 3, sandbox.Options{})
			m.Fail(trouble(t, spec))
			_, err := r.Read(t.Context(), userRange(0, 3), []string{"vip"})
			refused := (*ReadError)(nil)
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "Get User") || refused.Code != codeReadBack && spec != "status=401" {
				t.Errorf("%s: %v", spec, err)
			}
			if status := "HTTP " + spec[len("status="):][:3]; spec != "status=401" && !strings.Contains(err.Error(), status) {
				t.Errorf("%s: it does not say %s: %v", spec, status, err)
			}
		})
	}
}

// A Retry-After of an hour must fail the read at once and not block it for hours.
func TestReadingBackDoesNotSleepForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := library(t, 3, sandbox.Options{})
		m.Fail(trouble(t, "status=429,retry_after=3000"))
		began := time.Now()
		_, err := r.Read(t.Context(), userRange(0, 3), []string{"vip"})
		if err == nil || !strings.Contains(err.Error(), "50m0s") || time.Since(began) > time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestReadingBackStopsWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := library(t, 3, sandbox.Options{})
		m.Fail(trouble(t, "status=503,retry_after=50"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Read(ctx, userRange(0, 3), []string{"vip"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestAnAnswerThatLeavesUsersOutIsNotBelieved(t *testing.T) {
	for _, text := range []string{`{"status":"success"}`, `{"data":{"users":[],"users_not_found":[]}}`, `{"data":{"users":[{"user_attributes":{"vip":true}}]}}`, `[]`,
		`{"data":{"users":"none","users_not_found":[{"identifier":"u0"}]}}`} {
		if held, err := parseExport([]byte(text), []string{"u0"}); err == nil {
			t.Errorf("%s was read as %+v", text, held)
		}
	}
}

func trouble(t *testing.T, spec string) sandbox.Fault {
	t.Helper()
	f, err := sandbox.ParseFault(spec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// No more than 16 MiB of an answer are read.
func TestAnExportHasALimit(t *testing.T) {
	r := NewReader(Config{BaseURL: "http://moengage", Transport: straight{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 17<<20))
	})}})
	if _, text, err := r.ask(t.Context(), r.client, 1, nil); len(text) != 16<<20 || err != nil {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// MoEngage is asked five times while it fails, with growing pauses.
func TestReadingBackIsTriedFiveTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		r := NewReader(Config{BaseURL: "http://moengage", MinBackoff: time.Second, MaxBackoff: 3 * time.Second, Transport: straight{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			at = append(at, time.Since(start))
			w.WriteHeader(http.StatusServiceUnavailable)
		})}})
		if _, err := r.Read(t.Context(), []string{"u0"}, nil); err == nil {
			t.Error("no error")
		}
		if got, want := fmt.Sprint(at), "[0s 1s 3s 6s 9s]"; got != want {
			t.Errorf("tried at %s, want %s", got, want)
		}
	})
}
