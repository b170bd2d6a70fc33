package syncer

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
)

// TestARequestIsOfTheTraceOfItsOldestChange: a part of it that is sent alone is of the trace of that part.
func TestARequestIsOfTheTraceOfItsOldestChange(t *testing.T) {
	of := func(seq uint64, id byte) domain.Change {
		c := domain.Change{ID: domain.ID{Seq: seq}}
		if id > 0 {
			c.Trace = &domain.Trace{ID: [16]byte{id}}
		}
		return c
	}
	event := of(3, 3)
	a := &attempt{lease: &domain.Lease{Users: []domain.UserChanges{
		{User: "ann", Attributes: []domain.Change{of(1, 0), of(5, 5)}},
		{User: "bob", Attributes: []domain.Change{of(4, 4)}, Event: &event},
		{User: "cid", Attributes: []domain.Change{of(2, 0)}},
	}}}
	ann, bob, bobsEvent, cid := item{user: 0}, item{user: 1}, item{user: 1, event: true}, item{user: 2}
	for _, tc := range []struct {
		items []item
		want  byte // 0: none
	}{
		{[]item{ann, bob, bobsEvent, cid}, 3}, {[]item{ann, bob}, 4}, {[]item{ann}, 5}, {[]item{cid}, 0}, {nil, 0},
	} {
		got := a.traceOf(tc.items)
		if tc.want == 0 && got != nil || tc.want > 0 && (got == nil || got.ID[0] != tc.want) {
			t.Errorf("%+v is of the trace %v, want %d", tc.items, got, tc.want)
		}
	}
}

// TestEachAttemptIsASpanOfItsOwn: a retry is of the same trace.
func TestEachAttemptIsASpanOfItsOwn(t *testing.T) {
	var came []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came = append(came, strings.Join(r.Header.Values("Traceparent"), ","))
	}))
	defer server.Close()
	c := clientOf(t, server.URL, time.Minute)
	trace := domain.ParseTrace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	for _, with := range []*domain.Trace{trace, nil, trace} {
		c.within(with).post(t.Context(), []byte("{}"))
	}
	if len(came) != 3 || came[1] != "" || came[0] == came[2] || slices.ContainsFunc([]string{came[0], came[2]}, func(header string) bool {
		got := domain.ParseTrace(header)
		return got == nil || *got != *trace
	}) {
		t.Errorf("the requests named %q", came)
	}
}
