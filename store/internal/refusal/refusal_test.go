package refusal

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func TestRefusalsAreCountedByKind(t *testing.T) {
	r := New(noon)
	key := domain.Refusal{Route: "webhook", Status: 401, Code: "bad", Delivery: true}
	at := func(second int) domain.Refusal {
		x := key
		x.Last = noon.Add(time.Duration(second) * time.Second)
		return x
	}
	var to uint64
	start := r.Number()
	for range burst + 3 {
		r.Count(at(0))
	}
	if lines := r.Since(start, &to, noon); len(lines) != burst || lines[0].Count != 1 || to != start+burst || r.Number() != to {
		t.Errorf("a burst is %d lines up to %d", len(lines), to-start)
	}
	if lines := r.Since(to, &to, noon.Add(9*time.Second)); len(lines) != 0 {
		t.Errorf("too early: %+v", lines)
	}
	if lines := r.Since(to, &to, noon.Add(10*time.Second)); len(lines) != 1 || lines[0].Count != 3 {
		t.Errorf("then %+v", lines)
	}
	if lines := r.Since(to, &to, noon.Add(time.Hour)); len(lines) != 0 {
		t.Errorf("nothing was refused, and it is %+v", lines)
	}
	other := domain.Refusal{Route: "other", Status: 404, Code: "not_found", Last: noon.Add(time.Minute)}
	r.Count(other)
	r.NoteReceived(domain.LastReceived{Webhook: noon, Tracking: noon.Add(1)})
	list, heard := r.List()
	if len(list) != 2 || list[0].Count != burst+3 || list[1] != (domain.Refusal{Route: "other", Status: 404, Code: "not_found", Count: 1, Last: noon.Add(time.Minute)}) || Sum(list) != burst+4 {
		t.Errorf("they are %+v", list)
	}
	read, again, err := Decode(encode(list, heard))
	if err != nil || !reflect.DeepEqual(read, list) || again != heard {
		t.Errorf("they are read as %+v, %+v, %v", read, again, err)
	}
	if _, _, err := Decode([]byte("rubbish")); err == nil {
		t.Error("rubbish is read")
	}
	if !r.Unwritten() {
		t.Error("they are said to be written")
	}
	for i := range kept + 10 {
		x := key
		x.Code, x.Last = fmt.Sprint(i), noon
		r.Count(x)
	}
	if lines := r.Since(0, &to, noon); len(lines) != kept || lines[kept-1].Code != fmt.Sprint(kept+9) {
		t.Errorf("%d lines are kept", len(lines))
	}
	var none *Counts
	if none.Number() != 0 || none.Since(0, &to, noon) != nil {
		t.Error("the files of a stopped agent have lines")
	}
}

func TestRefusalsAreSorted(t *testing.T) {
	want := []domain.Refusal{
		{Route: "b", Count: 2}, {Route: "a", Status: 1, Count: 1}, {Route: "a", Status: 2, Code: "x", Count: 1},
		{Route: "a", Status: 2, Code: "y", Delivery: true, Count: 1}, {Route: "a", Status: 2, Code: "y", Count: 1}, {Route: "c", Count: 1},
	}
	for seed := range 20 {
		list := slices.Clone(want)
		for i := range list {
			j := (i*7 + seed) % len(list)
			list[i], list[j] = list[j], list[i]
		}
		if Sort(list); !slices.Equal(list, want) {
			t.Fatalf("they are %+v", list)
		}
	}
}

// TestRefusalsFloodIsAFewLines: a scanner does not hide the rest of the activity.
func TestRefusalsFloodIsAFewLines(t *testing.T) {
	r := New(noon)
	from := r.Number()
	for i := range 600 { // ten a second for a minute
		r.Count(domain.Refusal{Route: "other", Status: 404, Code: "not_found", Last: noon.Add(time.Duration(i) * 100 * time.Millisecond)})
	}
	var to, sum uint64
	lines := r.Since(from, &to, noon.Add(2*time.Minute))
	for i := range lines {
		sum += lines[i].Count
	}
	if len(lines) > burst+7 || sum != 600 {
		t.Errorf("600 refusals made %d lines, which tell of %d", len(lines), sum)
	}
	if again := r.Since(to, &to, noon.Add(time.Hour)); len(again) != 0 {
		t.Errorf("told twice: %+v", again)
	}
}
