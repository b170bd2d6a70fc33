package ingest

import (
	"fmt"
	"strings"
	"testing"

	"personasync/store/domain"
)

// The receipt silently replaced such a time, so that an older exit that arrived later won.
func TestAnUnreadableTimeIsLoggedOnceForEachSpellingAndCounted(t *testing.T) {
	w := newSite(nil)
	post := func(timestamp string) {
		body := []byte(fmt.Sprintf(`{"type":"identify","userId":"usr_private","timestamp":%q}`, timestamp))
		if a := w.send(t, signedPost(body)); a.Status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	for i := range 5 {
		post(fmt.Sprintf("%02d.03.2026 ann@example.com", i+10))
	}
	post("2026-03-14T09:26:53Z")
	post("٢٠٢٦-٠٣-١٤T٠٩:٢٦:٥٣Z")
	log := w.log.String()
	if n := strings.Count(log, "level=WARN"); n != 2 || !strings.Contains(log, "00.00.0000 aaa@aaaaaaa.aaa") || strings.Contains(log, "ann@") || strings.Contains(log, "usr_private") {
		t.Errorf("%d lines:\n%s", n, log)
	}
	if n := w.times.unread.Load(); n != 5 {
		t.Errorf("%d events are counted", n)
	}
}

func TestSpellingsOfTimesAreBounded(t *testing.T) {
	w := newSite(nil)
	for i := range 3 * mostSpellings {
		w.send(t, signedPost([]byte(fmt.Sprintf(`{"type":"identify","userId":"ann","timestamp":"%s"}`, strings.Repeat("-", i%39)+strings.Repeat("/", i/39)))))
	}
	if n := strings.Count(w.log.String(), "level=WARN"); n != mostSpellings+1 {
		t.Errorf("%d lines of log", n)
	}
	if n := w.times.unread.Load(); n != 3*mostSpellings-1 { // the first of them is empty: no time at all
		t.Errorf("%d events are counted", n)
	}
}

func TestABatchesSentAtCorrectsItsEvents(t *testing.T) {
	w := newSite(nil)
	w.send(t, post("/v1/batch", []byte(`{"writeKey":"`+testWriteKey+`","sentAt":"2120-01-01T00:01:00Z","batch":[
		{"type":"identify","userId":"ann","timestamp":"2120-01-01T00:00:00Z"},{"type":"identify","userId":"ann","timestamp":"2120-01-01T00:00:59Z"}]}`)))
	if len(w.events) != 2 {
		t.Fatalf("%d events", len(w.events))
	}
	for i, want := range []string{"1m0s", "1s"} {
		if e := w.events[i]; e.Received.Sub(e.Time).String() != want {
			t.Errorf("event %d is %s older than its receipt, want %s", i, e.Received.Sub(e.Time), want)
		}
	}
}

func TestTheOrderOfAnArrayWithoutTimesArrives(t *testing.T) {
	w := newSite(nil)
	w.send(t, signedPost([]byte(`[{"userId":"ann","traits":{"a":1}},{"userId":"ann","traits":{"a":2}},{"userId":"ann","traits":{"a":3}}]`)))
	for i, e := range w.events {
		if e.Time.Sub(e.Received) != 0 && i == 0 || i > 0 && !e.Time.After(w.events[i-1].Time) {
			t.Errorf("event %d is of %v", i, e.Time)
		}
	}
	if len(w.events) != 3 {
		t.Errorf("%d events", len(w.events))
	}
}

// A value that is left out must be visible: the rest of its event counts as if nothing was wrong.
func TestValuesLeftOutAreCountedAndNamedOnce(t *testing.T) {
	w := newSite(nil)
	event := func(fields string) []byte {
		return []byte(`{"type":"identify","userId":"usr_private","traits":{"k":true,` + fields + `},"context":{"personas":{"computation_class":"audience","computation_key":"k"}}}`)
	}
	for range 3 {
		w.send(t, signedPost(event(`"spent":1e400,"ok":1`)))
	}
	w.send(t, signedPost(event(`"spent":1e400,"visits":-1e999`)))
	if n := w.ValuesLeftOut(); n != 5 {
		t.Errorf("%d values are counted", n)
	}
	log := w.log.String()
	if n := strings.Count(log, "a value was left out"); n != 2 || !strings.Contains(log, "name=spent") || !strings.Contains(log, "name=visits") || strings.Contains(log, "usr_private") {
		t.Errorf("%d lines:\n%s", n, log)
	}
	for i := range 3 * mostSpellings {
		w.send(t, signedPost(event(fmt.Sprintf(`"spent_%d":1e400`, i))))
	}
	if n := strings.Count(w.log.String(), "level=WARN"); n != mostSpellings+1 {
		t.Errorf("%d lines of log", n)
	}
	w.fail = domain.ErrBusy // events that are not accepted are sent again, and counted then
	w.send(t, signedPost(event(`"spent":1e400`)))
	if n := w.ValuesLeftOut(); n != 5+3*mostSpellings {
		t.Errorf("%d values are counted", n)
	}
}
