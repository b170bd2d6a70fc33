package segment

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"personasync/store/domain"
)

// seeds adds the payloads, and texts that were or easily are misread.
func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/payloads/*.json")
	if err != nil || len(files) < 40 {
		f.Fatalf("payloads: %d files, %v", len(files), err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, text := range []string{
		``, ` `, `null`, `{}`, `[]`, `[{}]`, `[[]]`, `{"a":}`, `{"a":1,}`, `[1,]`, `{,}`, `[`, `{`, `"`, `"\`, `"\u12`, `-`, `01`, `1.`, `1e`, `-0.0e-0`, `tru`, `{"a" 1}`,
		"\"\x80\"", "\"\x1f\"", `"\ud800"`, `"\ud83d\ude00"`, "\ufeff{}", `{}x`, `{"a":1}{}`, `{"type":"delete","userId":1}`,
		`{"\u0074ype":"track","type":"identify","userId":"a","userId":7}`,
		`{"type":null,"userId":null,"context":null,"traits":null,"properties":null,"messageId":null,"timestamp":null}`,
		`{"context":{"personas":{"computation_class":"trait","computation_key":"k"}},"traits":{"a":null,"email":"e","a":2},"userId":{}}`,
		`{"audience_key":"k","k":"TRUE","userId":1.50}`,
		`{"context":{"personas":{"computation_class":"audience","computation_key":"k","computation_id":"` + strings.Repeat("c", 600) + `"}},"traits":{"k":true}}`,
		"{\"context\":{\"personas\":{\"computation_class\":\"trait\",\"computation_key\":\"" + strings.Repeat("\xf5", 600) + "\"}},\"traits\":{\"k\":true}}",
		`{"audience_key":"` + strings.Repeat("k", 600) + `","` + strings.Repeat("k", 600) + `":true}`,
		`[{"json":{"type":"track"}},{"json":1,"x":2},{"json":[]}]`,
		`{"batch":[{"a":{"b":1}},7],"context":{"device":{"type":"x"}},"integrations":{"All":false},"writeKey":"k"}`,
	} {
		f.Add([]byte(text))
	}
}

// validDeep is json.Valid; ok is false if the text may be too deep for encoding/json.
func validDeep(raw []byte) (valid, ok bool) {
	if bytes.Count(raw, []byte("["))+bytes.Count(raw, []byte("{")) > 9000 {
		return false, false
	}
	return json.Valid(raw), true
}

func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := Read(raw, Reading{Received: received})
		valid, ok := validDeep(raw)
		if ok && valid == (e.Fault == FaultInvalidJSON) {
			t.Fatalf("json.Valid says %t, the event's fault is %q", valid, e.Fault)
		}
		spansAreJSON(t, e)
		trimmed := bytes.TrimLeft(raw, " \t\r\n")
		if ok && valid && trimmed[0] == '{' && !beyondReference(raw) {
			compareWithReference(t, raw)
		}
		Read(raw, Reading{Received: received, Route: RouteTracking, Call: domain.CallTrack})
	})
}

func spansAreJSON(t *testing.T, e *domain.Event) {
	t.Helper()
	if e.MessageID == "" {
		t.Error("an event without messageId")
	}
	if (e.Fault == "") != (e.Sentence == "") {
		t.Errorf("fault %q with sentence %q", e.Fault, e.Sentence)
	}
	if strings.ContainsAny(e.Sentence, "\n\r") {
		t.Errorf("the sentence is not one line: %q", e.Sentence)
	}
	if e.Object.Len > 0 && parseObject(e.Bytes(e.Object)) == nil && e.Fault != FaultTooDeep {
		t.Errorf("the object is none: %q", e.Bytes(e.Object))
	}
	for _, c := range e.Columns {
		if !json.Valid(e.Bytes(c.Value)) && e.Fault != FaultTooDeep {
			t.Errorf("column %q is not JSON: %q", c.Name, e.Bytes(c.Value))
		}
	}
}

func FuzzSplit(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		items, array, err := Split(body)
		valid, ok := validDeep(body)
		if !ok {
			return
		}
		if valid != (err == nil) {
			t.Fatalf("json.Valid says %t, Split %v", valid, err)
		}
		if err != nil {
			return
		}
		var elements []json.RawMessage
		if isArray := json.Unmarshal(body, &elements) == nil && elements != nil; isArray != array {
			t.Fatalf("array is %t, should be %t", array, isArray)
		}
		if !array {
			elements = []json.RawMessage{bytes.Trim(body, " \t\r\n")}
		}
		if len(items) != len(elements) {
			t.Fatalf("%d items of %d elements", len(items), len(elements))
		}
		for i, element := range elements {
			if wrapped := parseObject(element); array && countMembers(element) == 1 && wrapped.has("json") {
				element = wrapped["json"]
			}
			if !bytes.Equal(items[i], element) {
				t.Errorf("item %d is %q, should be %q", i, items[i], element)
			}
		}
		if array && len(elements) > 0 {
			_ = json.Unmarshal(body, &elements)
			if got := FirstElement(body); !bytes.Equal(got, elements[0]) {
				t.Errorf("the first element is %q, should be %q", got, elements[0])
			}
		}
	})
}

// countMembers counts an object's members with duplicates, which a map would hide.
func countMembers(raw []byte) (n int) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return 0
	}
	for d.More() {
		if _, err := d.Token(); err != nil {
			return n
		}
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return n
		}
		n++
	}
	return n
}

func FuzzParseBatch(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := ParseBatch(body)
		valid, ok := validDeep(body)
		if !ok {
			return
		}
		if _, bad := err.(*NotJSON); valid == bad {
			t.Fatalf("json.Valid says %t, ParseBatch %v", valid, err)
		}
		if err != nil {
			return
		}
		top := parseObject(body)
		var elements []json.RawMessage
		if json.Unmarshal(top["batch"], &elements) != nil || len(elements) != len(b.Items) {
			t.Fatalf("%d items of %d elements", len(b.Items), len(elements))
		}
		for i, item := range b.Items {
			if item.Size != len(elements[i]) {
				t.Errorf("item %d has size %d, was sent with %d", i, item.Size, len(elements[i]))
			}
			checkMerged(t, elements[i], item.Raw, top)
		}
	})
}

// checkMerged compares a merged item with a merge of decoded maps. Numbers stay text.
func checkMerged(t *testing.T, sent, got []byte, top object) {
	t.Helper()
	want, ok := decode(sent).(map[string]any)
	if !ok || len(sent) > MaxEventBytes {
		if !bytes.Equal(sent, got) {
			t.Errorf("%q became %q", sent, got)
		}
		return
	}
	for _, name := range []string{"context", "integrations"} {
		extra, ok := decode(top[name]).(map[string]any)
		if !ok || len(extra) == 0 {
			continue
		}
		own, has := want[name]
		if m, isMap := own.(map[string]any); isMap {
			mergeMaps(m, extra, 1)
		} else if !has || own == nil {
			want[name] = extra
		}
	}
	if w, g := encode(want), encode(decode(got)); !bytes.Equal(w, g) {
		t.Errorf("%q was merged to %s, should be %s", sent, g, w)
	}
}

func mergeMaps(own, extra map[string]any, depth int) {
	for name, value := range extra {
		mine, ok := own[name]
		if !ok {
			own[name] = value
			continue
		}
		a, isMap := mine.(map[string]any)
		b, both := value.(map[string]any)
		if isMap && both && depth < mergeDepth {
			mergeMaps(a, b, depth+1)
		}
	}
}

func decode(raw []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&v)
	return v
}

func encode(v any) []byte {
	out, _ := json.Marshal(v)
	return out
}
