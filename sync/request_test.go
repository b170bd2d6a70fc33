package syncer

import (
	"slices"
	"strings"
	"testing"

	"personasync/store/domain"
)

func user(id string, attribute, event int) domain.Delivery {
	d := domain.Delivery{User: id}
	if attribute > 0 {
		d.Attributes = []domain.Change{attr("a", `"`+strings.Repeat("x", attribute)+`"`)}
	}
	if event > 0 {
		d.Event = &domain.Change{Name: "e", Value: []byte(`"` + strings.Repeat("y", event) + `"`)}
	}
	return d
}

func TestARequestIsFilledToTheByte(t *testing.T) {
	one := newLoad(encoder{}, 1<<20)
	one.add(user("aa", 10, 0))
	one.add(user("bb", 10, 10))
	exact := len(one.request(one.items))
	for limit, fits := range map[int]bool{exact: true, exact - 1: false} {
		l := newLoad(encoder{}, limit)
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
		d      domain.Delivery
		items  []item
		faults []string
	}{
		{"both halves together fit", user("aa", 10, 10), []item{{event: false}, {event: true}}, nil},
		{"attributes too large", user("aa", 1000, 10), []item{{event: true}}, []string{codeTooLarge}},
		{"event too large", user("aa", 10, 1000), []item{{event: false}}, []string{codeTooLarge}},
		{"both too large", user("aa", 1000, 1000), nil, []string{codeTooLarge, codeTooLarge}},
		{"each alone fits, the event waits", user("aa", 250, 200), []item{{event: false}}, nil},
		{"broken", domain.Delivery{User: "aa", Attributes: []domain.Change{attr("a", "{")}}, nil, []string{codeUnencodable}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoad(encoder{}, limit)
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
	whole := newLoad(encoder{}, 100_000)
	for _, id := range []string{"aa", "bb", "cc"} {
		whole.add(user(id, 3, 3))
	}
	part := newLoad(encoder{}, 100_000)
	part.add(user("bb", 3, 3))
	if got, want := string(whole.request(whole.items[2:4])), string(part.request(part.items)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
