package term

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCSVHoldsWhatJSONDoesAndNoFormula(t *testing.T) {
	type Named struct {
		User string `json:"user"`
	}
	type item struct {
		Named
		Count uint64          `json:"count"`
		Value json.RawMessage `json:"value"`
		Cause string          `json:"cause,omitempty"`
		Ids   []string        `json:"ids"`
	}
	var out strings.Builder
	list := NewCSVList[item](&out)
	for _, page := range [][]item{
		{{Named: Named{"ann"}, Count: 3, Value: json.RawMessage("true")}, {Named: Named{`=HYPERLINK("http://evil")`}, Value: json.RawMessage(`"a,b"`)}},
		{{Named: Named{"line\r\nline\x1b[31m\u009b"}, Value: json.RawMessage(`-1.5`), Cause: "<i>", Ids: []string{"a", "b"}}, {Named: Named{"\u202eأحمد 👩‍💻\xff"}}},
	} {
		if err := list.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	want := "user,count,value,cause,ids\r\n" +
		"ann,3,true,,\r\n" +
		`"'=HYPERLINK(""http://evil"")",0,"a,b",,` + "\r\n" +
		`line\u000d\u000aline\u001b[31m\u009b,0,-1.5,<i>,"[""a"",""b""]"` + "\r\n" +
		"\u202eأحمد 👩‍💻\ufffd,0,,,\r\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
	if rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll(); err != nil || len(rows) != 5 {
		t.Errorf("it is read as %d rows: %v", len(rows), err)
	}
}

func TestAnEmptyCSVHasItsTitles(t *testing.T) {
	var out strings.Builder
	if err := NewCSVList[struct {
		User string `json:"user"`
	}](&out).Add(nil); err != nil || out.String() != "user\r\n" {
		t.Errorf("it is %q: %v", out.String(), err)
	}
}
