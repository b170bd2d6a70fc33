package segment

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
)

// The limits are promises to senders, so these tests have them as numbers.

func TestLimitsOfEveryRequest(t *testing.T) {
	for name, c := range map[string]struct{ got, want int }{
		"an event, in bytes":         {MaxEventBytes, 32768},
		"events of a batch":          {maxBatch, 2500},
		"events of a webhook's body": {MaxArray, 20000},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
	item := `{"type":"track"}`
	if b, err := ParseBatch([]byte(`{"batch":[` + strings.Repeat(item+",", maxBatch-1) + item + `]}`)); err != nil || len(b.Items) != maxBatch {
		t.Errorf("a full batch: %v", err)
	}
}

func TestALongMessageIDIsReplacedByTheHash(t *testing.T) {
	for n, own := range map[int]bool{256: true, 257: false} {
		id := strings.Repeat("m", n)
		raw := []byte(`{"messageId":"` + id + `"}`)
		e := Read(raw, Reading{})
		if own && e.MessageID != id || !own && e.MessageID != nameless(raw) {
			t.Errorf("%d bytes: %q", n, e.MessageID)
		}
	}
	if id := nameless([]byte("{}")); id != "raw_44136fa355b3678a1146ad16f7e8649e" { // of sha256sum
		t.Errorf("the id of {} is %s", id)
	}
}

func TestLongNamesAreRefused(t *testing.T) {
	name := func(n int) string { return strings.Repeat("n", n) }
	personas := func(key, id, space string) string {
		return fmt.Sprintf(`{"userId":"u","type":"identify","traits":{%q:true},"context":{"personas":{"computation_class":"audience","computation_key":%q,"computation_id":%q,"space_id":%q}}}`, key, key, id, space)
	}
	row := func(column string) string {
		return engaged("trait", `"type":"identify","traits":{"a":1,"`+column+`":2}`)
	}
	for what, c := range map[string]struct{ raw, fault, sentence string }{
		"names of 512 bytes":    {personas(name(512), name(512), name(512)), "", ""},
		"a key of 513 bytes":    {personas(name(513), "c", "s"), FaultNameTooLong, "has 513 bytes; at most 512 are taken"},
		"an id of 513 bytes":    {personas("k", name(513), "s"), FaultNameTooLong, "has 513 bytes; at most 512 are taken"},
		"a space of 513 bytes":  {personas("k", "c", name(513)), FaultNameTooLong, "has 513 bytes; at most 512 are taken"},
		"a column of 512 bytes": {row(name(512)), "", ""},
		"a column of 513 bytes": {row(name(513)), FaultNameTooLong, "has 513 bytes; at most 512 are taken"},
	} {
		e := Read([]byte(c.raw), Reading{})
		if e.Fault != c.fault || !strings.Contains(e.Sentence, c.sentence) {
			t.Errorf("%s: %q %q", what, e.Fault, e.Sentence)
		}
	}
	e := Read([]byte(row(name(513))), Reading{})
	if len(e.Columns) != 1 || e.Columns[0].Name != "a" {
		t.Errorf("the other column of the row is lost: %+v", e.Columns)
	}
	e = Read([]byte(personas(name(513), "c", "s")), Reading{})
	if e.Key != "" || e.ComputationID != "c" {
		t.Errorf("a key that is too long is kept: %q, %q", e.Key, e.ComputationID)
	}
}

// row returns the object of a SQL trait with n columns.
func row(n int) string {
	columns := make([]string, n)
	for i := range columns {
		columns[i] = fmt.Sprintf(`"c%d":%d`, i, i)
	}
	return strings.Join(columns, ",")
}

func TestARowHasAtMostAThousandColumns(t *testing.T) {
	for n, fault := range map[int]string{1: "", 32: "", 33: "", 34: "", 1000: "", 1001: FaultTooManyVals} {
		e := Read([]byte(engaged("trait", `"type":"identify","traits":{`+row(n)+`}`)), Reading{})
		want := n
		if fault != "" {
			want = 0
		}
		if e.Fault != fault || len(e.Columns) != want {
			t.Errorf("%d columns: %q, %d read", n, e.Fault, len(e.Columns))
		}
		for i, c := range e.Columns {
			if c.Name != fmt.Sprintf("c%d", i) || string(cut(e.Raw, c.Value)) != fmt.Sprint(i) {
				t.Fatalf("%d columns: column %d is %s = %s", n, i, c.Name, cut(e.Raw, c.Value))
			}
		}
	}
}

// A column that comes again has its last value, in a short row and in one that is searched with a map.
func TestTheLastOfDuplicateColumnsCounts(t *testing.T) {
	for _, n := range []int{2, 32, 33, 40} {
		for at := range n {
			e := Read([]byte(engaged("trait", fmt.Sprintf(`"type":"identify","traits":{%s,"c%d":"again"}`, row(n), at))), Reading{})
			if len(e.Columns) != n || string(cut(e.Raw, e.Columns[at].Value)) != `"again"` {
				t.Fatalf("column %d of %d: %d columns, %s", at, n, len(e.Columns), cut(e.Raw, e.Columns[at].Value))
			}
		}
	}
}

func TestMergingReachesEightLevels(t *testing.T) {
	nested := func(levels int, inner string) string {
		return strings.Repeat(`{"a":`, levels) + inner + strings.Repeat(`}`, levels)
	}
	for levels, want := range map[int]bool{8: true, 9: false} {
		body := `{"context":` + nested(levels-1, `{"shared":1}`) + `,"batch":[{"context":` + nested(levels-1, `{"own":2}`) + `}]}`
		b, err := ParseBatch([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(b.Items[0].Raw), "shared"); got != want {
			t.Errorf("a member at level %d: merged is %v: %s", levels, got, b.Items[0].Raw)
		}
	}
}

// An item that is refused because of its size anyway is not merged, and neither is one that is no object.
func TestItemsThatAreNotMerged(t *testing.T) {
	context := `"context":{"ip":"203.0.113.7"}`
	large := func(n int) string { return `{"x":"` + strings.Repeat("x", n-len(`{"x":""}`)) + `"}` }
	for what, c := range map[string]struct {
		item   string
		merged bool
	}{
		"an event of the largest size": {large(32768), true},
		"a byte more":                  {large(32769), false},
		"a number":                     {"7", false},
		"an empty event":               {"{}", true},
	} {
		b, err := ParseBatch([]byte(`{` + context + `,"batch":[` + c.item + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(b.Items[0].Raw), "203.0.113.7"); got != c.merged || b.Items[0].Size != len(c.item) {
			t.Errorf("%s: merged is %v, size %d of %d", what, got, b.Items[0].Size, len(c.item))
		}
	}
}

// Together the merged events may have 8 MiB.
func TestMergedEventsAreBoundedTogether(t *testing.T) {
	const shared, items = 8192, 1000
	context := `"context":{"a":"` + strings.Repeat("x", shared-len(`{"context":{"a":""}}`)) + `"}`
	for each, fails := range map[int]bool{8388: false, 8389: true} { // 8 MiB are 1000 times 8388.6 bytes
		item := `{"y":"` + strings.Repeat("y", each-shared-len(`"y":"",`)) + `"}`
		b, err := ParseBatch([]byte(`{` + context + `,"batch":[` + strings.Repeat(item+",", items-1) + item + `]}`))
		if errors.Is(err, ErrTooLarge) != fails {
			t.Errorf("%d bytes each: %v", each, err)
		}
		if err == nil && len(b.Items[0].Raw) != each {
			t.Errorf("an item has %d bytes, want %d", len(b.Items[0].Raw), each)
		}
	}
}

func TestAClientsClockIsCorrectedByTwoDaysAtMost(t *testing.T) {
	for behind, corrected := range map[time.Duration]bool{48 * time.Hour: true, 48*time.Hour + time.Second: false} {
		sent := received.Add(-behind)
		raw := fmt.Sprintf(`{"userId":"u","timestamp":%q}`, sent.Add(-time.Minute).Format(time.RFC3339))
		e := Read([]byte(raw), Reading{Route: RouteTracking, Received: received, SentAt: sent})
		want, shift := sent.Add(-time.Minute), time.Duration(0)
		if corrected {
			want, shift = received.Add(-time.Minute), behind
		}
		if !e.Time.Equal(want) || e.ClockShift != shift || e.TimeSource != domain.TimeOwn {
			t.Errorf("%s behind: %s, shifted by %s, %q", behind, e.Time, e.ClockShift, e.TimeSource)
		}
	}
}

func TestSentencesShowAtMost48BytesOfAValue(t *testing.T) {
	for n, want := range map[int]string{48: `"` + strings.Repeat("c", 48) + `" is not known`, 49: `"` + strings.Repeat("c", 48) + `"… is not known`} {
		e := Read([]byte(engaged(strings.Repeat("c", n), `"type":"track"`)), Reading{})
		if !strings.Contains(e.Sentence, want) {
			t.Errorf("%d bytes: %s", n, e.Sentence)
		}
	}
}
