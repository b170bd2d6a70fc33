package syncer

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
)

func user(id string, attribute, event int) domain.UserChanges {
	d := domain.UserChanges{User: id}
	if attribute > 0 {
		d.Attributes = []domain.Change{assigned("a", `"`+strings.Repeat("x", attribute)+`"`)}
	}
	if event > 0 {
		d.Event = &domain.Change{Name: "e", Value: []byte(`"` + strings.Repeat("y", event) + `"`)}
	}
	return d
}

func TestARequestIsFilledToTheByte(t *testing.T) {
	one := newLoad(Config{MaxRequestBytes: 1 << 20})
	one.add(user("aa", 10, 0))
	one.add(user("bb", 10, 10))
	exact := len(one.request(one.items))
	for limit, fits := range map[int]bool{exact: true, exact - 1: false} {
		l := newLoad(Config{MaxRequestBytes: limit})
		if !l.add(user("aa", 10, 0)) {
			t.Fatal("the first does not fit")
		}
		before := string(l.request(l.items))
		if got := l.add(user("bb", 10, 10)); got != fits {
			t.Errorf("limit %d: the second fits: %v, want %v", limit, got, fits)
		}
		if after := string(l.request(l.items)); !fits && (after != before || l.added != 1 || l.users != 1 || l.events != 0) {
			t.Errorf("a refused delivery left its traces: %s", after)
		}
		if n := len(l.request(l.items)); n > limit {
			t.Errorf("%d bytes, limit %d", n, limit)
		}
	}
}

func TestWhatFitsNoRequest(t *testing.T) {
	const limit = 400
	tests := []struct {
		name   string
		d      domain.UserChanges
		items  []item
		faults []string
	}{
		{"both halves together fit", user("aa", 10, 10), []item{{event: false}, {event: true}}, nil},
		{"attributes too large", user("aa", 1000, 10), []item{{event: true}}, []string{codeTooLarge}},
		{"event too large", user("aa", 10, 1000), []item{{event: false}}, []string{codeTooLarge}},
		{"both too large", user("aa", 1000, 1000), nil, []string{codeTooLarge, codeTooLarge}},
		{"each alone fits, the event waits", user("aa", 250, 200), []item{{event: false}}, nil},
		{"broken", domain.UserChanges{User: "aa", Attributes: []domain.Change{assigned("a", "{")}}, nil, []string{codeUnencodable}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoad(Config{MaxRequestBytes: limit})
			if !l.add(tt.d) {
				t.Fatal("an empty request must take it")
			}
			halves := slices.Clone(l.items)
			for i := range halves {
				halves[i].from, halves[i].to = 0, 0
			}
			var codes []string
			for _, f := range l.faults {
				codes = append(codes, f.code)
			}
			if !slices.Equal(halves, tt.items) || !slices.Equal(codes, tt.faults) {
				t.Errorf("items %v, faults %v", halves, codes)
			}
			if !l.add(user("bb", 1, 0)) && len(tt.items) == 0 {
				t.Error("what cannot be sent takes room")
			}
		})
	}
}

func TestSmallerRequestsAreCutFromALargerOne(t *testing.T) {
	whole := newLoad(Config{MaxRequestBytes: 100_000})
	for _, id := range []string{"aa", "bb", "cc"} {
		whole.add(user(id, 3, 3))
	}
	part := newLoad(Config{MaxRequestBytes: 100_000})
	part.add(user("bb", 3, 3))
	if got, want := string(whole.request(whole.items[2:4])), string(part.request(part.items)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

var transitionTime = time.Date(2026, 8, 1, 14, 34, 56, 789e6, time.FixedZone("CEST", 2*3600))

func assigned(name, value string) domain.Change {
	return domain.Change{Kind: domain.KindAttribute, Name: name, Value: json.RawMessage(value)}
}

func enterEvent() *domain.Change {
	return &domain.Change{
		ID: domain.ID{Epoch: 0x9c41e2f0, Seq: 1000, Slot: 2}, Kind: domain.KindEvent, Name: "Audience Entered",
		Computation: "high_value", ComputedBy: "aud_2abCdEf", Class: domain.ClassAudience,
		Value: json.RawMessage("true"), EventTime: transitionTime, MessageID: "m-1",
	}
}

// documented is the bulk request in MoEngage's documentation.
const documented = `{"type":"transition","elements":[` +
	`{"type":"customer","customer_id":"user-1001","attributes":{"seg_high_value":true,"ltv":120.5}},` +
	`{"type":"event","customer_id":"user-1001","actions":[{"action":"Audience Entered","attributes":{"computation_key":"high_value","computation_id":"aud_2abCdEf","value":true,"audience_key":"high_value","change_id":"9c41e2f0-3e8-2","message_id":"m-1"},"platform":"unknown","current_time":"2026-08-01T12:34:56.789Z"}]},` +
	`{"type":"customer","customer_id":"user-1002","attributes":{"seg_high_value":false}}]}`

func documentedLease() *domain.Lease {
	return &domain.Lease{Users: []domain.UserChanges{
		{User: "user-1001", Attributes: []domain.Change{assigned("seg_high_value", "true"), assigned("ltv", "120.5")}, Event: enterEvent()},
		{User: "user-1002", Attributes: []domain.Change{assigned("seg_high_value", "false")}},
	}}
}

func TestTheBulkRequest(t *testing.T) {
	l := newLoad(Config{MaxRequestBytes: 100_000})
	for _, d := range documentedLease().Users {
		if !l.add(d) {
			t.Fatal("does not fit")
		}
	}
	if diff := cmp.Diff(documented, string(l.request(l.items))); diff != "" {
		t.Error(diff)
	}
	if l.users != 2 || l.events != 1 {
		t.Errorf("%d users, %d events", l.users, l.events)
	}
}

// For any change, a request is valid JSON in valid UTF-8 within its limit, and so is every request split from
// it.
func FuzzRequest(f *testing.F) {
	f.Add("user-1001", "vip", []byte("true"), "Audience Entered", []byte(`{"a":[1,{"b":null}],"id":1}`), "key", 1000)
	f.Add("u\xff", "a\"", []byte(`"\ud800"`), "\x00", []byte(`{"\u0069d":"x","":{}}`), "", 300)
	f.Add("ab", "", []byte("null"), "", []byte("\"b\xff\""), "\xff", 10)
	f.Add("ab", "n", []byte(" [ 1 , null , {\"a\" : \"\\\\\"} ] "), "e", []byte(` { "a" : 1 , "b" : [ ] } `), "k", 500)
	f.Fuzz(func(t *testing.T, user, name string, value []byte, event string, props []byte, key string, limit int) {
		limit = min(max(limit, len(envelopeHead)+len(envelopeTail)), 10_000)
		l := newLoad(Config{UpdateExistingOnly: limit%2 == 0, RealTimeAction: limit%3 == 0, MaxRequestBytes: limit})
		changes := []domain.Change{assigned(name, string(value)), assigned(key, "1")}
		for i := range 5 {
			d := domain.UserChanges{User: user, Attributes: changes}
			if i%2 == 0 {
				d.Event = &domain.Change{Name: event, Props: props, Computation: key, MessageID: user, EventTime: transitionTime}
			} else {
				d.Event = &domain.Change{Name: event, Value: value, Computation: key, ComputedBy: name}
			}
			if !l.add(d) {
				break
			}
		}
		if l.added == 0 {
			t.Fatal("an empty request accepts nothing")
		}
		for from := range l.items {
			for to := from + 1; to <= len(l.items); to++ {
				body := l.request(l.items[from:to])
				if len(body) > limit {
					t.Fatalf("%d bytes, limit %d: %s", len(body), limit, body)
				}
				if !json.Valid(body) || !utf8.Valid(body) {
					t.Fatalf("not JSON: %q", body)
				}
			}
		}
	})
}

// BenchmarkAttributes encodes a full request of users with one membership each, as in a backlog.
func BenchmarkAttributes(b *testing.B) { benchmarkLoad(b, false) }

// BenchmarkBoth encodes users with a membership and a enterEvent event.
func BenchmarkBoth(b *testing.B) { benchmarkLoad(b, true) }

func benchmarkLoad(b *testing.B, event bool) {
	d := domain.UserChanges{User: "5a3bab48-7f3a-4c1e-9d7f-0c39c6340591", Attributes: []domain.Change{assigned("segment_high_value_buyers", "true")}}
	if event {
		d.Event = enterEvent()
	}
	l := newLoad(Config{MaxRequestBytes: 100_000})
	b.ReportAllocs()
	users := 0
	for b.Loop() {
		if !l.add(d) {
			l = newLoad(Config{MaxRequestBytes: 100_000})
		}
		users++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(users), "ns/user")
}

// A request of Cohort Sync has one cohort and one direction. The next request has the others.
func TestARequestHasOneCohort(t *testing.T) {
	c := Config{Endpoint: domain.EndpointCohort, MaxRequestBytes: 200}
	member := func(user, cohort string, transition domain.Transition) domain.UserChanges {
		return domain.UserChanges{User: user, Attributes: []domain.Change{{Kind: domain.KindCohort, Name: cohort, Transition: transition}}}
	}
	l := newLoad(c)
	if !l.add(member("ann", "vip", domain.TransitionEnter)) || !l.add(member("bob", "vip", domain.TransitionEnter)) {
		t.Fatal("two members of a cohort do not fit")
	}
	if l.add(member("cyd", "vip", domain.TransitionExit)) || l.add(member("cyd", "gold", domain.TransitionEnter)) {
		t.Error("another cohort or direction is in the same request")
	}
	if got, want := string(l.request(l.items)), `{"action":"add_members","partner":"personasync","parameters":{"cohort_name":"vip","cohort_id":"vip","members":[{"uid":"ann"},{"uid":"bob"}]}}`; got != want {
		t.Errorf("request %s", got)
	}
	if w := l.weigh(l.items); w.Users != 0 || w.Events != 0 || w.Calls != 1 {
		t.Errorf("it costs %+v, want one request", w)
	}
	for l.add(member("another-user", "vip", domain.TransitionEnter)) {
	}
	if n := len(l.request(l.items)); n > 200 || n < 200-len(`{"uid":"another-user"},`) {
		t.Errorf("a full request has %d bytes of 200", n)
	}

	l = newLoad(c)
	two := member("ann", "vip", domain.TransitionEnter)
	two.Attributes = append(two.Attributes, two.Attributes[0])
	if !l.add(two) || len(l.items) != 0 || len(l.faults) != 1 || l.faults[0].code != codeUnencodable {
		t.Errorf("two changes of one member: %d items, faults %+v", len(l.items), l.faults)
	}
	if !l.add(member(strings.Repeat("x", 300), "vip", domain.TransitionEnter)) || len(l.faults) != 2 || l.faults[1].code != codeTooLarge || l.faults[1].user != 1 {
		t.Errorf("a member that fits no request: faults %+v", l.faults)
	}
}
