package ingest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/store/domain"
)

// TestUnsignedBodiesAreBoundedTogether posts many large bodies without their last byte and without a valid signature.
// A hundred bodies of 8 MB took a gigabyte.
func TestUnsignedBodiesAreBoundedTogether(t *testing.T) {
	w := newSite(nil)
	good := signedPost(readPayload(t, "audience-identify-enter.json"))
	gate := make(chan struct{})
	codes := make(chan string)
	const requests = 60
	var arrived sync.WaitGroup
	for range requests {
		arrived.Add(1)
		r := post("/segment/webhook", nil, "X-Signature", "00")
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 7<<20)), stuck{arrived.Done, gate}))
		go func() { codes <- w.send(t, r).Code }()
	}
	all(t, &arrived)
	if held := w.memory.bytes.Load(); held > maxBodies || held < maxBodies/2 {
		t.Errorf("%d bytes are held", held)
	}
	if a := w.send(t, good); a.Status != 200 {
		t.Errorf("a single event is refused next to them: %+v", a)
	}
	close(gate)
	seen := map[string]int{}
	for range requests {
		seen[<-codes]++
	}
	if seen["crowded"] == 0 || seen["invalid_signature"] == 0 || len(seen) != 2 || w.rejected != seen["invalid_signature"] {
		t.Errorf("answers %v, %d counted as refused", seen, w.rejected)
	}
	if held, requests := w.memory.bytes.Load(), w.memory.requests.Load(); held != 0 || requests != 0 {
		t.Errorf("%d bytes of %d requests are held for ever", held, requests)
	}
}

// all waits for a group.
func all(t *testing.T, g *sync.WaitGroup) {
	t.Helper()
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("not all requests arrived")
	}
}

// stuck is a body that ends only when the test allows it.
type stuck struct {
	arrived func()
	gate    chan struct{}
}

func (s stuck) Read([]byte) (int, error) {
	s.arrived()
	<-s.gate
	return 0, io.EOF
}

// TestEventsReadFromSmallBodiesAreBoundedTogether posts batches of 2,500 events that share one context. While they wait
// for the disk they take 14 times the size of the body.
func TestEventsReadFromSmallBodiesAreBoundedTogether(t *testing.T) {
	w := newSite(nil)
	written := make(chan struct{})
	var waiting sync.WaitGroup
	w.inbox = fakeInbox{
		append:  func(context.Context, ...*domain.Event) error { waiting.Done(); <-written; return nil },
		refused: func(domain.Refusal) {},
	}
	body := []byte(`{"context":{"pad":"` + strings.Repeat("x", 2500) + `"},"batch":[` + strings.Repeat(`{"type":"track","event":"E","userId":"u"},`, 2499) + `{}]}`)
	codes := make(chan string)
	const requests = 60
	waiting.Add(requests)
	for range requests {
		go func() {
			a := w.send(t, post("/v1/batch", body, "Authorization", basicKey))
			if a.Code != "" { // it never came to the disk
				waiting.Done()
			}
			codes <- a.Code
		}()
	}
	all(t, &waiting)
	if held := w.memory.bytes.Load(); held > maxBodies {
		t.Errorf("%d bytes are held", held)
	}
	close(written)
	seen := map[string]int{}
	for range requests {
		seen[<-codes]++
	}
	if seen["crowded"] == 0 || seen[""] == 0 || len(seen) != 2 {
		t.Errorf("answers %v", seen)
	}
}

// TestARequestReservesItsBodyAndItsEvents: while an array waits for the disk, its body and its events are in memory.
func TestARequestReservesItsBodyAndItsEvents(t *testing.T) {
	const events = 20
	list := strings.Repeat(`,{"type":"track","event":"E","userId":"u","x":"`+strings.Repeat("x", 20<<10)+`"}`, events)[1:]
	for path, body := range map[string]string{"/segment/webhook": "[" + list + "]", "/v1/batch": `{"batch":[` + list + `]}`} {
		w, held := newSite(nil), int64(0)
		w.inbox = fakeInbox{append: func(context.Context, ...*domain.Event) error { held = w.memory.bytes.Load(); return nil }}
		a := w.send(t, post(path, []byte(body), "X-Signature", sign(testSecret, []byte(body)), "Authorization", basicKey))
		if least := int64(2*len(body) + events*eventCost - freeBytes); a.Status != 200 || held < least {
			t.Errorf("%s: %d, %d bytes are reserved for a body of %d with %d events, want %d at least", path, a.Status, held, len(body), events, least)
		}
		if held := w.memory.bytes.Load(); held != 0 {
			t.Errorf("%s: %d bytes are reserved after the answer", path, held)
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	w := newSite(nil)
	w.memory.requests.Store(maxRequests)
	if a := w.send(t, signedPost([]byte(`{}`))); a.Status != 503 || a.Code != "crowded" || w.rejected != 0 {
		t.Errorf("%+v", a)
	}
	if n := w.memory.requests.Load(); n != maxRequests {
		t.Errorf("a refused request is counted: %d", n)
	}
}
