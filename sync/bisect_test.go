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

// journey is a trip that records its requests.
type journey struct {
	trip
	requests [][]item
	halted   int
}

// travel makes a trip with n users, each with attributes and an event. decide answers its requests.
func travel(n int, decide func(items []item) answer) *journey {
	j := &journey{}
	j.flight = &domain.Lease{}
	for i := range n {
		j.flight.Deliveries = append(j.flight.Deliveries, domain.Delivery{Attributes: make([]domain.Change, 1), Event: &domain.Change{}})
		j.items = append(j.items, item{delivery: i}, item{delivery: i, event: true})
	}
	j.results = make([]domain.DeliveryResult, n)
	j.halt = func(answer) { j.halted++ }
	j.post = func(items []item) answer {
		j.requests = append(j.requests, slices.Clone(items))
		return decide(items)
	}
	return j
}

func says(status int, kind string) answer {
	body := `{"status":"fail","error":{"type":"` + kind + `","message":"words"}}`
	if status == 200 {
		body = `{"status":"success"}`
	}
	return read(status, http.Header{}, []byte(body), time.Now())
}

func (j *journey) count(v domain.Verdict) (n int) {
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
func TestATripUnderRandomAnswers(t *testing.T) {
	for range 1000 {
		n := 1 + rand.IntN(40)
		bad := map[item]bool{}
		for range rand.IntN(4) {
			bad[item{delivery: rand.IntN(n), event: rand.IntN(2) == 0}] = true
		}
		kind := []string{"TypeError", "Surprise", "Blacklisted"}[rand.IntN(3)]
		breaks := rand.IntN(30) // the request at which everything fails; often never reached
		taken := map[item]bool{}
		var j *journey
		j = travel(n, func(items []item) answer {
			if len(items) == 0 {
				t.Fatal("an empty request")
			}
			if len(j.requests) == breaks {
				return []answer{says(503, ""), says(500, ""), says(401, "")}[rand.IntN(3)]
			}
			for _, it := range items {
				first := item{delivery: it.delivery}
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
		j.wary = rand.IntN(2) == 0
		j.deliver(j.items)

		for _, it := range j.items {
			switch v := j.result(it).Verdict; {
			case (v == domain.Delivered) != taken[it]:
				t.Fatalf("%v: verdict %d, taken %v", it, v, taken[it])
			case v == domain.Parked && !bad[it]:
				t.Fatalf("%v is parked and innocent", it)
			case v == domain.Parked && kind != "TypeError" && !j.proven:
				t.Fatalf("%v is parked although nothing was accepted", it)
			}
		}
		if bound := bits.Len(uint(len(j.items)-1)) + 2 + controls; len(j.requests) > bound {
			t.Fatalf("%d requests of %d elements with %d offenders, want at most %d", len(j.requests), len(j.items), len(bad), bound)
		}
		if failed := len(j.requests) >= breaks; len(bad) > 0 && !failed && j.halted == 0 && j.count(domain.Parked) == 0 {
			t.Fatalf("a trip with %d offenders parked nobody and did not stop the road", len(bad))
		}
	}
}

// An undocumented refusal that concerns the request must park no element.
func TestARefusalOfTheRequestParksNobody(t *testing.T) {
	j := travel(50, func(items []item) answer {
		if len(items) > 30 {
			return says(400, "TooManyElements")
		}
		return says(200, "")
	})
	j.deliver(j.items)
	if j.count(domain.Parked) != 0 || j.halted != 0 || j.count(domain.Delivered) < 25 {
		t.Errorf("%d parked, %d delivered, halted %d", j.count(domain.Parked), j.count(domain.Delivered), j.halted)
	}
}

// If the account is refused, three requests are enough to detect it.
func TestARefusedAccountIsNotSearched(t *testing.T) {
	j := travel(500, func([]item) answer { return says(400, "Blacklisted") })
	j.deliver(j.items)
	if len(j.requests) != 1+controls || j.halted != 1 || j.count(domain.Untried) != 1000 {
		t.Errorf("%d requests, halted %d, %d untried", len(j.requests), j.halted, j.count(domain.Untried))
	}
	if r := j.results[7].Event; r.Reason != codeAccount || r.Sentence == "" {
		t.Errorf("what waits does not say why: %+v", r)
	}
}

// While the breaker is open, the changes of the refused request show the reason, and no other changes do.
func TestAChangeSaysWhyItWaitsWhileTheRoadIsStopped(t *testing.T) {
	stopped := travel(3, func([]item) answer { return says(401, "Authentication required") })
	stopped.deliver(stopped.items)
	for _, it := range stopped.items {
		if r := stopped.result(it); r.Verdict != domain.Untried || r.Reason != "http_401" || r.Sentence == "" || r.Answer.Status != 401 {
			t.Errorf("%v waits with %+v", it, r)
		}
	}

	answers := []answer{says(400, "TypeError"), says(401, "")}
	search := travel(2, func([]item) answer {
		a := answers[0]
		answers = answers[1:]
		return a
	})
	search.deliver(search.items)
	for i, it := range search.items {
		if r := search.result(it); r.Verdict != domain.Untried || (r.Reason == "http_401") != (i < 2) || (r.Sentence == "") != (i >= 2) {
			t.Errorf("element %d waits with %+v", i, r)
		}
	}

	held := travel(1, func([]item) answer { return answer{Meaning: rows[codeStay]} })
	held.deliver(held.items)
	if r := held.results[0]; r != (domain.DeliveryResult{}) {
		t.Errorf("what was never sent waits with %+v", r)
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
		halted  int
	}{
		{"refused for now", later(1, says(503, "")), domain.Refused, 10, 0},
		{"lost", later(1, failure(reset(), true, time.Now())), domain.Uncertain, 10, 0},
		{"stopped", later(1, says(401, "")), domain.Untried, 20, 0},
		{"too large after all, whatever it is", later(1, says(413, "")), domain.Untried, 20, 1},
		{"held back", later(1, answer{Meaning: rows[codeStay]}), domain.Untried, 20, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := travel(10, func([]item) answer { return tt.next() })
			j.deliver(j.items)
			if n := j.count(tt.verdict); n != tt.count || j.halted != tt.halted {
				t.Errorf("%d with verdict %d, want %d; halted %d, want %d", n, tt.verdict, tt.count, j.halted, tt.halted)
			}
			if !j.back() {
				t.Error("nothing came back")
			}
		})
	}
}

func TestAttemptsOfAttributesAreTheYoungests(t *testing.T) {
	j := travel(1, func([]item) answer {
		a := says(500, "")
		a.alone = 3
		return a
	})
	j.max = 3
	j.flight.Deliveries[0].Attributes = []domain.Change{{Alone: 9}, {Alone: 1}}
	j.flight.Deliveries[0].Event = &domain.Change{Alone: 2}
	j.deliver(j.items)
	if a, e := j.results[0].Attributes, j.results[0].Event; a.Verdict != domain.Uncertain || e.Verdict != domain.Parked || e.Reason != codeAttempts {
		t.Errorf("attributes %+v\nevent %+v", a, e)
	}
}
