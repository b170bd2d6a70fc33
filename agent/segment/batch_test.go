package segment

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestWhatABatchSharesReachesEveryEvent(t *testing.T) {
	b, err := ParseBatch(payload(t, "api-batch-shared-context-merge.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"type":"identify","userId":"usr_1","traits":{"a":1},"context":{"device":{"type":"phone","name":"Pixel"},"ip":"203.0.113.7"},"integrations":{"All":false}}`,
		`{"type":"track","userId":"usr_1","event":"X","context":{"device":{"type":"tablet","name":"Pixel"},"ip":"203.0.113.7"},"integrations":{"All":false}}`,
	}
	for i, item := range b.Items {
		if string(item.Raw) != want[i] {
			t.Errorf("item %d is\n%s, want\n%s", i, item.Raw, want[i])
		}
	}
	if b.WriteKey != "wk_test_123" {
		t.Errorf("write key %q", b.WriteKey)
	}
}

func TestSharing(t *testing.T) {
	cases := []struct{ name, shared, item, want string }{
		{"nothing shared keeps the bytes", `"context":{},"integrations":null`, `{ "a" : 1 }`, `{ "a" : 1 }`},
		{"the event has it all", `"context":{"a":1}`, `{"context":{ "a" : 2 }}`, `{"context":{ "a" : 2 }}`},
		{"a null context is none", `"context":{"a":1}`, `{"context":null}`, `{"context":{"a":1}}`},
		{"a null inside stands", `"context":{"a":{"b":1}}`, `{"context":{"a":null}}`, `{"context":{"a":null}}`},
		{"other kinds stand", `"integrations":{"All":false}`, `{"integrations":[1]}`, `{"integrations":[1]}`},
		{"the last of duplicates", `"context":{"a":1}`, `{"context":{"x":1},"context":{"x":2}}`, `{"context":{"x":2,"a":1}}`},
		{"names keep their spelling", `"context":{"\u0061":1.0}`, `{"\u0062":1e5}`, `{"\u0062":1e5,"context":{"\u0061":1.0}}`},
		{"spelled otherwise it is the same name", `"context":{"\u0061":1}`, `{"context":{"a":2}}`, `{"context":{"a":2}}`},
		{"an empty event", `"context":{"a":1}`, `{}`, `{"context":{"a":1}}`},
		{"an item that is not an event stays", `"context":{"a":1}`, `[]`, `[]`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, err := ParseBatch([]byte(`{"batch":[` + c.item + `],` + c.shared + `}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(b.Items[0].Raw); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if b.Items[0].Size != len(c.item) {
				t.Errorf("size %d, was sent with %d", b.Items[0].Size, len(c.item))
			}
		})
	}
}

func TestPersonasMayBeShared(t *testing.T) {
	b, err := ParseBatch([]byte(`{"batch":[{"type":"identify","userId":"u","messageId":"m","traits":{"k":true}}],"context":{"personas":{"computation_class":"audience","computation_key":"k"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := summary(Read(b.Items[0].Raw, Reading{Route: RouteTracking})); got != "identify audience k in" {
		t.Error(got)
	}
}

func TestParseBatchRefuses(t *testing.T) {
	item := `{"type":"track"}`
	many := strings.Repeat(item+",", maxBatch) + item
	context := func(n int) string { return `"context":{"a":"` + strings.Repeat("x", n) + `"}` }
	var bad *NotJSON
	if _, err := ParseBatch([]byte(`{"batch":[}`)); !errors.As(err, &bad) {
		t.Error(err)
	}
	for _, body := range []string{`{}`, `[]`, `7`, `{"batch":{}}`, `{"batch":null}`} {
		if _, err := ParseBatch([]byte(body)); !errors.Is(err, errNoBatch) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := ParseBatch([]byte(`{"batch":[` + many + `]}`)); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	if _, err := ParseBatch([]byte(`{"batch":[` + item + `],` + context(MaxEventBytes) + `}`)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := ParseBatch([]byte(`{"batch":[` + many[:len(many)-len(item)-1] + `],` + context(8000) + `}`)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// The most expensive body is a long shared member deep under names that every event has. Without the depth
// limit it would be read again at each of 60 levels for each event.
func TestMergingCostsNoMoreThanItGives(t *testing.T) {
	open, shut := strings.Repeat(`{"a":`, 60), strings.Repeat(`}`, 60)
	item := `{"context":` + open + `{"big":1}` + shut + `}`
	shared := `"context":` + open + `{"big":"` + strings.Repeat("x", 30<<10) + `"}` + shut
	b, err := ParseBatch([]byte(`{"batch":[` + item + strings.Repeat(","+item, 99) + `],` + shared + `}`))
	if err != nil || len(b.Items) != 100 {
		t.Fatal(err)
	}
	for _, i := range b.Items {
		if string(i.Raw) != item {
			t.Fatalf("merged deeper than %d levels: %s", mergeDepth, clip(i.Raw))
		}
	}
}

func TestWriteKey(t *testing.T) {
	for body, want := range map[string]string{
		`{"writeKey":"k"}`: "k", `{"writeKey":7}`: "", `[]`: "", `{"writeKey":"a","writeKey":"b"}`: "b", `{"writeKey":"a","writeKey":null}`: "",
	} {
		if got, err := WriteKey([]byte(body)); err != nil || got != want {
			t.Errorf("%s: %q, %v", body, got, err)
		}
	}
	if _, err := WriteKey([]byte(`{`)); err == nil {
		t.Error("no error for a body that is not JSON")
	}
}

func ExampleParseBatch() {
	b, _ := ParseBatch([]byte(`{"writeKey":"wk","batch":[{"type":"track","event":"Paid"}],"context":{"ip":"203.0.113.7"}}`))
	fmt.Printf("%s", b.Items[0].Raw)
	// Output: {"type":"track","event":"Paid","context":{"ip":"203.0.113.7"}}
}

// An SDK's unusual sentAt is reported once for the batch, and may be read all the same.
func TestAnOddSentAtOfABatchIsReported(t *testing.T) {
	for body, want := range map[string]string{
		`{"batch":[],"sentAt":"2026-03-14T10:27:00Z"}`: "",
		`{"batch":[],"sentAt":1773484020}`:             "sentAt 0000000000 true",
		`{"batch":[],"sentAt":"soon"}`:                 "sentAt aaaa false",
		`{"batch":[],"sentAt":"so\u006fn"}`:            "sentAt aaaa false",
	} {
		b, err := ParseBatch([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		b.SentAt(func(o OddTime) { said += fmt.Sprint(o.Field, " ", o.Spelling, " ", o.Read) })
		if said != want {
			t.Errorf("%s: %q, want %q", body, said, want)
		}
		b.SentAt(nil) // may be nil
	}
}

func TestMergingEmptyObjects(t *testing.T) {
	for body, want := range map[string]string{
		`{"context":{"a":1},"batch":[{"context":{}}]}`:                      `{"context":{"a":1}}`,
		`{"context":{"a":{}},"batch":[{"context":{"a":{}}}]}`:               `{"context":{"a":{}}}`,
		`{"context":{"a":{}},"batch":[{"context":{"a":{"b":1}}}]}`:          `{"context":{"a":{"b":1}}}`,
		`{"context":{},"integrations":{"All":true},"batch":[{}]}`:           `{"integrations":{"All":true}}`,
		`{"context":{"a":1},"integrations":{"All":true},"batch":[{"b":2}]}`: `{"b":2,"context":{"a":1},"integrations":{"All":true}}`,
		`{"context":7,"batch":[{}]}`:                                        `{}`,
		`{"context":{"a":1},"batch":[{"context":null}]}`:                    `{"context":{"a":1}}`,
		`{"context":{"a":{"b":1}},"batch":[{"context":{"a":null}}]}`:        `{"context":{"a":null}}`,
		`{"context":{"a":1},"batch":[{"context":"x"}]}`:                     `{"context":"x"}`,
	} {
		b, err := ParseBatch([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.Items[0].Raw); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}
