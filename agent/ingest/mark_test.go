package ingest

import (
	"testing"
)

// A byte order mark made the body "not JSON". The answer was 400, and Segment discarded the events.
func TestAByteOrderMarkBeforeABodyIsIgnored(t *testing.T) {
	const mark = "\ufeff"
	one, array := `{"type":"identify","userId":"ann"}`, `[{"type":"identify","userId":"ann"},{"type":"delete","userId":"ann"}]`
	for _, c := range []struct {
		name, path, body, signed, key string
		users                         int
		fault                         string // of the last event
	}{
		{"one event, signed with the mark", "/segment/webhook", mark + one, mark + one, "", 1, ""},
		{"one event, signed before the mark came", "/segment/webhook", mark + one, one, "", 1, ""},
		{"an array, signed with the mark", "/segment/webhook", mark + array, mark + array, "", 2, ""},
		{"an array whose first event is signed", "/segment/webhook", mark + array, one, "", 2, "unverified_delete"},
		{"a Tracking call", "/v1/identify", mark + `{"userId":"ann","writeKey":"` + testWriteKey + `"}`, "", "", 1, ""},
		{"a Tracking batch", "/v1/batch", mark + `{"batch":[` + one + `],"writeKey":"` + testWriteKey + `"}`, "", "", 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newSite(nil)
			var header []string
			if c.signed != "" {
				header = []string{"X-Signature", sign(testSecret, []byte(c.signed))}
			}
			if a := w.send(t, post(c.path, []byte(c.body), header...)); a.Status != 200 {
				t.Fatalf("%+v", a)
			}
			if len(w.events) != c.users || w.events[0].User.ID != "ann" || w.events[len(w.events)-1].Fault != c.fault {
				t.Errorf("%d events, the last %+v", len(w.events), w.events[len(w.events)-1])
			}
		})
	}
	w := newSite(nil)
	if a := w.send(t, post("/segment/webhook", []byte(mark+one), "X-Signature", sign(testSecret, []byte("x")))); a.Status != 401 {
		t.Errorf("a wrong signature: %+v", a)
	}
	if a := w.send(t, signedPost([]byte(mark+mark+one))); a.Status != 400 {
		t.Errorf("two marks: %+v", a)
	}
}
