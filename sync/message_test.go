package syncer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
)

// MoEngage's message about bad data may contain a user id or a user's value. Neither the log nor the status may
// repeat those; both repeat the rest.
func TestWordsThatNameAUserAreShownWithoutThem(t *testing.T) {
	const user = "Bob.Miller+1@example.test"
	for name, answer := range map[string]func() *http.Response{
		"documented":               func() *http.Response { return fail(400, "AttributeError", "bad platform of "+user) },
		"undocumented":             func() *http.Response { return fail(400, "Surprise", "no place for "+strings.ToLower(user)) },
		"a number":                 func() *http.Response { return fail(400, "Surprise", "mobile 491701234567 is no number") },
		"somebody else":            func() *http.Response { return fail(400, "Surprise", "is carol@shop.test already") },
		"a stop for somebody else": func() *http.Response { return fail(403, "BlockedClient", "ask carol%40shop.test") },
		"a stop":                   func() *http.Response { return fail(403, "BlockedClient", "because of <"+user+">") },
		"in a page":                func() *http.Response { return reply(500, "<html><title>user Bob.Miller%2B1%40example.test</title>") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				o := newShelf(t)
				w := &wire{t: t, answer: func(sentRequest) (*http.Response, error) { return answer(), nil }}
				s, stop := runLogged(t, testConfig(w), o, slog.New(slog.NewTextHandler(&log, nil)))
				for i := range 300 {
					o.attribute(fmt.Sprint("user-", i))
				}
				o.attribute(user)
				time.Sleep(5 * time.Minute)
				stop()
				text := log.String() + s.Health().LastError
				for _, id := range []string{"Miller", "miller", "user-", "carol", "49170"} {
					if strings.Contains(text, id) {
						t.Errorf("%q is named in the log or the status:\n%s", id, text)
					}
				}
				if name != "documented" && !strings.Contains(s.Health().LastError, domain.Said) { // that one does not open the breaker
					t.Errorf("the status does not say what MoEngage said: %q", s.Health().LastError)
				}
			})
		})
	}
}

// Each kind of request names this host's address where IP whitelisting requires it, and reports if MoEngage
// still refuses it.
func TestIPWhitelistingIsSaidOnEveryWay(t *testing.T) {
	ways := map[string]func(t *testing.T, c Config) (seen string){
		"transition": func(t *testing.T, c Config) string { return stoppedBy(t, c) },
		"cohort": func(t *testing.T, c Config) string {
			c.Endpoint = domain.EndpointCohort
			return stoppedBy(t, c)
		},
		"reading back": func(t *testing.T, c Config) string {
			_, err := NewReader(c).Read(t.Context(), []string{"ann"}, []string{"vip"})
			return readCode(err)
		},
		"the test of credentials": func(t *testing.T, c Config) string {
			_, err := Authenticate(t.Context(), c)
			return readCode(err)
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var named []string
				c := testConfig(nil)
				c.ForwardedFor = "203.0.113.7"
				c.Transport = roundTrip(func(r *http.Request) *http.Response {
					named = append(named, r.Header.Get("X-Forwarded-For"))
					return reply(403, `{"error": "IP Validation Required", "message": "IP Validation Failed. Please check your IP!!"}`)
				})
				seen := way(t, c)
				if !strings.HasPrefix(seen, codeAddress) || !strings.Contains(seen, "Please check your IP!!") {
					t.Errorf("the operator sees %q", seen)
				}
				if len(named) == 0 || named[0] != "203.0.113.7" {
					t.Errorf("X-Forwarded-For is %q", named)
				}
			})
		})
	}
}

func stoppedBy(t *testing.T, c Config) string {
	o := newShelf(t)
	s, stop := run(t, c, o)
	defer stop()
	o.attribute("ann")
	eventually(t, 5*time.Second, func() bool { return s.Health().Stopped })
	return s.Health().LastError
}

func readCode(err error) string {
	refused := (*ReadError)(nil)
	if !errors.As(err, &refused) {
		return fmt.Sprint(err)
	}
	return refused.Code + ": " + refused.Sentence
}

// roundTrip answers every request.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }
