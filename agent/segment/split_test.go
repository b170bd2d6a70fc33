package segment

import (
	"errors"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	cases := []struct {
		name, body string
		items      []string
		array      bool
	}{
		{"one event", ` {"a":1} `, []string{`{"a":1}`}, false},
		{"no event", `[ ]`, nil, true},
		{"several", `[{"a":1} , [2],null,"x"]`, []string{`{"a":1}`, `[2]`, `null`, `"x"`}, true},
		{"wrapped", `[{"json":{"a":1}},{ "json" : [1] }]`, []string{`{"a":1}`, `[1]`}, true},
		{"json is one of several members", `[{"json":{"a":1},"b":2},{"json":1,"json":2}]`, []string{`{"json":{"a":1},"b":2}`, `{"json":1,"json":2}`}, true},
		{"a single event is not unwrapped", `{"json":{"a":1}}`, []string{`{"json":{"a":1}}`}, false},
		{"a scalar", `7`, []string{`7`}, false},
		{"broken UTF-8 is for Read to see", "[\"\xff\"]", []string{"\"\xff\""}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			items, array, err := Split([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if array != c.array || len(items) != len(c.items) {
				t.Fatalf("%q, array %t", items, array)
			}
			for i := range items {
				if string(items[i]) != c.items[i] {
					t.Errorf("item %d is %q, want %q", i, items[i], c.items[i])
				}
				if cap(items[i]) != len(items[i]) {
					t.Errorf("item %d could be appended to over its neighbour", i)
				}
			}
		})
	}
}

func TestSplitRefusesWhatIsNotJSON(t *testing.T) {
	for body, offset := range map[string]int{
		``: 0, `{"a":1`: 6, `[1,]`: 3, `{} {}`: 3, `nul`: 0, "\ufeff{}": 0, `[1 2]`: 3, `{"a":01}`: 6, "[\"\n\"]": 2,
	} {
		_, _, err := Split([]byte(body))
		var bad *NotJSON
		if !errors.As(err, &bad) || bad.Offset != offset {
			t.Errorf("%q: %v, want byte %d", body, err, offset)
		}
	}
}

func TestDeepArraysBlowNoStack(t *testing.T) {
	for _, depth := range []int{10_000, 256 << 10} {
		body := []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
		items, _, err := Split(body)
		if err != nil || len(items) != 1 {
			t.Fatalf("%d items, %v", len(items), err)
		}
		if e := Read(items[0], Reading{}); e.Fault != FaultNotAnObject {
			t.Errorf("fault %q", e.Fault)
		}
		if _, _, err := Split(body[:len(body)-1]); err == nil {
			t.Error("an array that nobody closed was taken")
		}
	}
}

func TestSplitTakesNoMillions(t *testing.T) {
	body := "[1" + strings.Repeat(",1", MaxArray) + "]"
	if _, _, err := Split([]byte(body)); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	if items, _, err := Split([]byte("[1" + strings.Repeat(",1", MaxArray-1) + "]")); err != nil || len(items) != MaxArray {
		t.Errorf("%d items, %v", len(items), err)
	}
}

// Segment signs the first element as it is written, with its wrapping.
func TestFirstElement(t *testing.T) {
	for body, want := range map[string]string{
		` [ {"json": {"a":1}} , 2]`: `{"json": {"a":1}}`,
		`[1,`:                       `1`,
		`[1`:                        `1`,
		`["a" "b"]`:                 `"a"`,
		`[]`:                        ``,
		`[ ]`:                       ``,
		`[`:                         ``,
		`[tru]`:                     ``,
		`{"a":1}`:                   ``,
		``:                          ``,
	} {
		if got := string(FirstElement([]byte(body))); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}
