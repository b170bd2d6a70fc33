package ingest

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// setClock is a clock that can be set while time passes.
type setClock struct{ wall, passed time.Duration }

func (c *setClock) pass(d time.Duration) { c.wall, c.passed = c.wall+d, c.passed+d }

var clockEpoch = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)

func (c *setClock) clock(shown time.Time) *Clock {
	return &Clock{
		wall:  func() time.Time { return clockEpoch.Add(c.wall) },
		past:  func() time.Duration { return c.passed },
		shown: shown,
	}
}

func TestAClockRemembersTheLatestTimeItShowed(t *testing.T) {
	var c setClock
	d := c.clock(time.Time{})
	want := func(what string, now, latest time.Duration) {
		t.Helper()
		gotNow, gotLatest := d.read()
		if !gotNow.Equal(clockEpoch.Add(now)) || !gotLatest.Equal(clockEpoch.Add(latest)) {
			t.Errorf("%s: %s, at the latest %s; want %s and %s", what, gotNow.Sub(clockEpoch), gotLatest.Sub(clockEpoch), now, latest)
		}
	}
	want("at first", 0, 0)
	c.pass(time.Hour)
	want("an hour later", time.Hour, time.Hour)
	c.wall -= 24 * time.Hour
	want("set back by a day", -23*time.Hour, time.Hour)
	c.pass(time.Minute)
	want("a minute later", -23*time.Hour+time.Minute, time.Hour+time.Minute)
	c.wall += 48 * time.Hour
	want("set ahead by two", 25*time.Hour+time.Minute, 25*time.Hour+time.Minute)
	d = c.clock(clockEpoch.Add(100 * time.Hour))
	want("started behind what the files say", 25*time.Hour+time.Minute, 100*time.Hour+c.passed)
}

// TestAClockSetBackMakesNoEventStale: while the agent's clock is behind or was set back, transitions keep the order in
// which they happened. Their own times count up to the latest time that the clock showed. An event of next year does
// not count as that late.
func TestAClockSetBackMakesNoEventStale(t *testing.T) {
	for _, back := range []time.Duration{0, time.Minute, time.Hour, 25 * time.Hour, 10 * 366 * 24 * time.Hour} {
		t.Run(back.String(), func(t *testing.T) {
			var c setClock
			w := newSite(nil)
			w.Handler.Clock = c.clock(time.Time{})
			post := func(fields string) time.Time {
				t.Helper()
				body := fmt.Appendf(nil, `{"type":"identify","userId":"u",%s"traits":{"k":true},"context":{"personas":{"computation_class":"audience","computation_key":"k","computation_id":"i","space_id":"s"}}}`, fields)
				mac := hmac.New(sha1.New, []byte(testSecret))
				mac.Write(body)
				r := httptest.NewRequest(http.MethodPost, "/segment/webhook", bytes.NewReader(body))
				r.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
				if a := w.send(t, r); a.Status != http.StatusOK {
					t.Fatalf("answered %d", a.Status)
				}
				return w.events[len(w.events)-1].Time
			}
			truth := func() string {
				return fmt.Sprintf(`"originalTimestamp":%q,`, clockEpoch.Add(c.passed).Format(time.RFC3339Nano))
			}
			last := post(truth())
			c.pass(time.Hour)
			c.wall -= back
			for i, fields := range []string{"", "", `"x":1,`, `"originalTimestamp":"2099-01-01T00:00:00Z",`, ""} {
				c.pass(10 * time.Second)
				at := post(cmp.Or(fields, truth()))
				if !at.After(last) || at.After(clockEpoch.Add(c.passed)) {
					t.Errorf("event %d is taken to be of %s, the one before of %s, and it is %s", i, at, last, clockEpoch.Add(c.passed))
				}
				last = at
			}
		})
	}
}

// TestAClockThatIsAheadForAMomentIsNotRemembered: events without a time were dated a year ahead from then on, also after
// a restart.
func TestAClockThatIsAheadForAMomentIsNotRemembered(t *testing.T) {
	var c setClock
	d := c.clock(time.Time{})
	d.read()
	for _, off := range []time.Duration{6 * time.Minute, time.Hour, 366 * 24 * time.Hour} {
		c.pass(time.Second)
		c.wall += off
		if now, latest := d.read(); !now.Equal(clockEpoch.Add(c.wall)) || !latest.Equal(now) {
			t.Errorf("ahead by %s it reads %s, at the latest %s", off, now, latest)
		}
		if d.Doubt() == "" || d.Settled() {
			t.Errorf("ahead by %s there is no doubt", off)
		}
		c.pass(2 * time.Second)
		c.wall -= off
		if now, latest := d.read(); !latest.Equal(now) || !now.Equal(clockEpoch.Add(c.wall)) {
			t.Errorf("back from %s ahead it reads %s, at the latest %s", off, now, latest)
		}
		if why := d.Doubt(); why != "" || !d.Settled() {
			t.Errorf("back from %s ahead: %s", off, why)
		}
	}
	c.wall -= time.Hour
	if d.Doubt() == "" {
		t.Error("a clock that was set back is in no doubt")
	}
}

// TestAReceiptSaysByHowMuchTheClockJumped: with it, an event received under a clock that is ahead for a moment does not
// count as old. A long downtime is not a jump.
func TestAReceiptSaysByHowMuchTheClockJumped(t *testing.T) {
	const year = 366 * 24 * time.Hour
	var c setClock
	w := newSite(nil)
	w.Handler.Clock = c.clock(clockEpoch)
	w.Handler.Clock.filed = true
	post := func() (ahead time.Duration) {
		t.Helper()
		body := []byte(`{"type":"track","event":"Step","userId":"u","context":{"personas":{"computation_class":"journey_step","computation_key":"k"}}}`)
		mac := hmac.New(sha1.New, []byte(testSecret))
		mac.Write(body)
		webhook := httptest.NewRequest(http.MethodPost, "/segment/webhook", bytes.NewReader(body))
		webhook.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
		tracking := httptest.NewRequest(http.MethodPost, "/v1/track", bytes.NewReader(body))
		tracking.SetBasicAuth(testWriteKey, "")
		batch := httptest.NewRequest(http.MethodPost, "/v1/batch", bytes.NewReader(fmt.Appendf(nil, `{"batch":[%s]}`, body)))
		batch.SetBasicAuth(testWriteKey, "")
		for i, r := range []*http.Request{webhook, tracking, batch} {
			if a := w.send(t, r); a.Status != http.StatusOK {
				t.Fatalf("%s answered %d", r.URL.Path, a.Status)
			}
			at := w.events[len(w.events)-1].ClockAhead
			if i > 0 && at != ahead {
				t.Errorf("%s says %s, the webhook %s", r.URL.Path, at, ahead)
			}
			ahead = at
		}
		return ahead
	}
	want := func(what string, want time.Duration) {
		t.Helper()
		if got := post(); got != want {
			t.Errorf("%s: ahead by %s, want %s", what, got, want)
		}
	}
	c.wall += 10 * time.Hour
	want("after a downtime", 0)
	c.pass(time.Hour)
	want("an hour later", 0)
	c.wall += year
	want("ahead by a year", year)
	c.pass(2 * time.Second)
	c.wall -= year
	want("back", 0)
	c.wall += time.Minute
	want("put right by a minute", 0)
	c.wall += year
	want("ahead again", year)
	c.pass(time.Hour)
	want("ahead for an hour", 0)
}

// TestAClockThatJumpedIsSettledAfterAnHour: until then nothing expires by it.
func TestAClockThatJumpedIsSettledAfterAnHour(t *testing.T) {
	c := setClock{wall: 366 * 24 * time.Hour}
	d := c.clock(clockEpoch)
	for _, step := range []struct {
		pass    time.Duration
		settled bool
	}{{0, false}, {59 * time.Minute, false}, {time.Minute, true}} {
		c.pass(step.pass)
		if got := d.Settled(); got != step.settled {
			t.Errorf("after %s more, settled is %v", step.pass, got)
		}
	}
}

// TestADoubtSaysHowFarTheClockIsOff, and whether it was set now or before the start.
func TestADoubtSaysHowFarTheClockIsOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		shown time.Time // before the start
		set   time.Duration
		want  string
	}{
		{"set ahead while the agent runs", time.Time{}, 6 * time.Minute, "the clock jumped ahead by 6m0s: until it has held for an hour, nothing expires"},
		{"set back while the agent runs", time.Time{}, -6 * time.Minute, "the clock was set back by 6m0s: it is behind now, or was ahead before"},
		{"back within five minutes", time.Time{}, -5 * time.Minute, ""},
		{"behind the files at a start", clockEpoch.Add(time.Hour), 0, "the clock shows a time that is 1h0m0s before the files were last written to: it is behind now, or was ahead then"},
		{"ahead of the files at a start", clockEpoch.Add(-time.Hour), 0, ""},
	} {
		var set setClock
		d := set.clock(c.shown)
		d.filed = !c.shown.IsZero() // as NewClock does
		if c.shown.IsZero() {
			d.read()
		}
		set.wall += c.set
		if got := d.Doubt(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
