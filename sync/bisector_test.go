package syncer

import (
	"math/bits"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

// recorded is a bisector that records its requests.
type recorded struct {
	*bisector
	requests [][]item
}

// bisect makes a bisector of a lease with n users, each with attributes and an event. decide answers its requests.
func bisect(n int, decide func(items []item) answer) *recorded {
	r, lease, items := &recorded{}, &domain.Lease{}, []item(nil)
	for i := range n {
		lease.Users = append(lease.Users, domain.UserChanges{Attributes: make([]domain.Change, 1), Event: &domain.Change{}})
		items = append(items, item{user: i}, item{user: i, event: true})
	}
	r.bisector = newBisector(lease, items, knowledge{}, func(items []item) answer {
		r.requests = append(r.requests, slices.Clone(items))
		return decide(items)
	})
	return r
}

func says(status int, kind string) answer {
	body := `{"status":"fail","error":{"type":"` + kind + `","message":"words"}}`
	if status == 200 {
		body = `{"status":"success"}`
	}
	return readAnswer(status, http.Header{}, []byte(body), time.Now())
}

func (j *recorded) count(v domain.Verdict) (n int) {
	for _, it := range j.items {
		if j.result(it).Verdict == v {
			n++
		}
	}
	return n
}

// With random bad elements, kinds of refusal and failures: no good element is parked, nothing accepted is sent
// again, no event is sent before its user's attributes, and finding a bad element takes no more requests than
// documented.
func TestABisectionUnderRandomAnswers(t *testing.T) {
	for range 1000 {
		n := 1 + rand.IntN(40)
		bad := map[item]bool{}
		for range rand.IntN(4) {
			bad[item{user: rand.IntN(n), event: rand.IntN(2) == 0}] = true
		}
		kind := []string{"TypeError", "Surprise", "Blacklisted"}[rand.IntN(3)]
		breaks := rand.IntN(30) // the request at which everything fails; often never reached
		taken := map[item]bool{}
		var j *recorded
		j = bisect(n, func(items []item) answer {
			if len(items) == 0 {
				t.Fatal("an empty request")
			}
			if len(j.requests) == breaks {
				return []answer{says(503, ""), says(500, ""), says(401, "")}[rand.IntN(3)]
			}
			for _, it := range items {
				first := item{user: it.user}
				if taken[it] || it.event && j.result(first).Verdict == domain.Untried && !slices.Contains(items, first) && !bad[first] {
					t.Fatalf("%v is sent twice, or before the attributes of its user", it)
				}
			}
			if slices.ContainsFunc(items, func(it item) bool { return bad[it] }) {
				return says(400, kind)
			}
			for _, it := range items {
				taken[it] = true
			}
			return says(200, "")
		})
		j.known.probing = rand.IntN(2) == 0
		j.run(nil)

		for _, it := range j.items {
			switch v := j.result(it).Verdict; {
			case (v == domain.Delivered) != taken[it]:
				t.Fatalf("%v: verdict %d, taken %v", it, v, taken[it])
			case v == domain.Parked && !bad[it]:
				t.Fatalf("%v is parked and innocent", it)
			case v == domain.Parked && kind != "TypeError" && !j.outcomes.accepted:
				t.Fatalf("%v is parked although nothing was accepted", it)
			}
		}
		if bound := bits.Len(uint(len(j.items)-1)) + 2 + controls; len(j.requests) > bound {
			t.Fatalf("%d requests of %d elements with %d offenders, want at most %d", len(j.requests), len(j.items), len(bad), bound)
		}
		if failed := len(j.requests) >= breaks; len(bad) > 0 && !failed && j.outcomes.everythingRefused == nil && j.count(domain.Parked) == 0 {
			t.Fatalf("a lease with %d bad elements parked nobody, and not everything was refused", len(bad))
		}
	}
}

// An undocumented refusal that concerns the request must park no element.
func TestARefusalOfTheRequestParksNobody(t *testing.T) {
	j := bisect(50, func(items []item) answer {
		if len(items) > 30 {
			return says(400, "TooManyElements")
		}
		return says(200, "")
	})
	j.run(nil)
	if j.count(domain.Parked) != 0 || j.outcomes.everythingRefused != nil || j.count(domain.Delivered) < 25 {
		t.Errorf("%d parked, %d delivered, everything refused: %v", j.count(domain.Parked), j.count(domain.Delivered), j.outcomes.everythingRefused)
	}
}

// If the account is refused, three requests are enough to detect it.
func TestARefusedAccountIsNotSearched(t *testing.T) {
	j := bisect(500, func([]item) answer { return says(400, "Blacklisted") })
	j.run(nil)
	if len(j.requests) != 1+controls || j.outcomes.everythingRefused == nil || j.count(domain.Untried) != 1000 {
		t.Errorf("%d requests, %d untried, everything refused: %v", len(j.requests), j.count(domain.Untried), j.outcomes.everythingRefused)
	}
	if r := j.outcomes.results[7].Event; r.Reason != codeAccount || r.Sentence == "" {
		t.Errorf("a pending change does not say why: %+v", r)
	}
}

// While the breaker is open, the changes of the refused request show the reason, and no other changes do.
func TestAChangeSaysWhyItWaitsWhileSendingIsStopped(t *testing.T) {
	stopped := bisect(3, func([]item) answer { return says(401, "Authentication required") })
	stopped.run(nil)
	for _, it := range stopped.items {
		if r := stopped.result(it); r.Verdict != domain.Untried || r.Reason != "http_401" || r.Sentence == "" || r.Answer.Status != 401 {
			t.Errorf("%v waits with %+v", it, r)
		}
	}

	answers := []answer{says(400, "TypeError"), says(401, "")}
	search := bisect(2, func([]item) answer {
		a := answers[0]
		answers = answers[1:]
		return a
	})
	search.run(nil)
	for i, it := range search.items {
		if r := search.result(it); r.Verdict != domain.Untried || (r.Reason == "http_401") != (i < 2) || (r.Sentence == "") != (i >= 2) {
			t.Errorf("element %d waits with %+v", i, r)
		}
	}

	held := bisect(1, func([]item) answer { return answer{Meaning: meanings[codeNotSent]} })
	held.run(nil)
	if r := held.outcomes.results[0]; r != (domain.UserResult{}) {
		t.Errorf("a change that was never sent has %+v", r)
	}
}

func TestASearchMeetsOtherAnswers(t *testing.T) {
	later := func(n int, other answer) func() answer {
		return func() answer {
			if n--; n >= 0 {
				return says(400, "TypeError")
			}
			return other
		}
	}
	tests := []struct {
		name    string
		next    func() answer
		verdict domain.Verdict
		count   int
		refused bool // everything
	}{
		{"refused for now", later(1, says(503, "")), domain.Refused, 10, false},
		{"lost", later(1, failure(reset(), true, time.Now())), domain.Uncertain, 10, false},
		{"stopped", later(1, says(401, "")), domain.Untried, 20, false},
		{"too large after all, whatever it is", later(1, says(413, "")), domain.Untried, 20, true},
		{"held back", later(1, answer{Meaning: meanings[codeNotSent]}), domain.Untried, 20, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := bisect(10, func([]item) answer { return tt.next() })
			j.run(nil)
			if n := j.count(tt.verdict); n != tt.count || (j.outcomes.everythingRefused != nil) != tt.refused {
				t.Errorf("%d with verdict %d, want %d; everything refused: %v, want %v", n, tt.verdict, tt.count, j.outcomes.everythingRefused, tt.refused)
			}
			if !j.outcomes.returned(j.lease) {
				t.Error("nothing came back")
			}
		})
	}
}

func TestAttemptsOfAttributesAreTheYoungests(t *testing.T) {
	j := bisect(1, func([]item) answer {
		a := says(500, "")
		a.failedAlone = 3
		return a
	})
	j.known.maxAttempts = 3
	j.lease.Users[0].Attributes = []domain.Change{{Alone: 9}, {Alone: 1}}
	j.lease.Users[0].Event = &domain.Change{Alone: 2}
	j.run(nil)
	if a, e := j.outcomes.results[0].Attributes, j.outcomes.results[0].Event; a.Verdict != domain.Uncertain || e.Verdict != domain.Parked || e.Reason != codeAttempts {
		t.Errorf("attributes %+v\nevent %+v", a, e)
	}
}

// TestAStopEndsTheSearch: no further request leaves once an answer says that none will be taken.
func TestAStopEndsTheSearch(t *testing.T) {
	for _, stop := range []answer{says(401, ""), says(503, ""), says(500, "")} {
		var j *recorded
		j = bisect(8, func([]item) answer {
			if len(j.requests) == 1 {
				return says(400, "TypeError")
			}
			return stop
		})
		if j.run(nil); len(j.requests) != 2 || !j.done {
			t.Errorf("behind an answer of %d there are %d requests", stop.status, len(j.requests)-2)
		}
	}
}

// TestASmallElementIsNotTooLarge: MoEngage takes 100 KB, so a proxy said so.
func TestASmallElementIsNotTooLarge(t *testing.T) {
	j, tooLarge := bisect(1, nil), says(413, "")
	for bytes, want := range map[int]bool{1: false, 64<<10 - 1: false, 64 << 10: true, 100 << 10: true} {
		if j.conclusive(item{from: 7, to: 7 + bytes}, tooLarge) != want {
			t.Errorf("a 413 to %d bytes: %v", bytes, !want)
		}
	}
}

// TestALeaseReturnsIfAnyPartOfItDoes. What a user has none of returns nothing.
func TestALeaseReturnsIfAnyPartOfItDoes(t *testing.T) {
	attributes := func(v domain.Verdict) domain.UserResult {
		return domain.UserResult{Attributes: domain.Result{Verdict: v}}
	}
	event := func(v domain.Verdict) domain.UserResult { return domain.UserResult{Event: domain.Result{Verdict: v}} }
	for _, tc := range []struct {
		name   string
		user   domain.UserChanges
		result domain.UserResult
		want   bool
	}{
		{"attributes delivered", domain.UserChanges{Attributes: make([]domain.Change, 1)}, attributes(domain.Delivered), false},
		{"attributes parked", domain.UserChanges{Attributes: make([]domain.Change, 1)}, attributes(domain.Parked), false},
		{"attributes refused", domain.UserChanges{Attributes: make([]domain.Change, 1)}, attributes(domain.Refused), true},
		{"an event delivered", domain.UserChanges{Event: &domain.Change{}}, event(domain.Delivered), false},
		{"an event untried", domain.UserChanges{Event: &domain.Change{}}, event(domain.Untried), true},
	} {
		o := outcomes{results: []domain.UserResult{tc.result}}
		if o.returned(&domain.Lease{Users: []domain.UserChanges{tc.user}}) != tc.want {
			t.Errorf("%s: %v", tc.name, !tc.want)
		}
	}
}
