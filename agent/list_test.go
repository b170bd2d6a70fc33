package agent

import (
	"fmt"
	"strings"
	"testing"
)

func TestListsAreReadInTheirManyForms(t *testing.T) {
	for _, tt := range []struct{ name, file, text, column, want string }{
		{"one a line", "m.txt", "ann\nbob\n", "", "ann bob"},
		{"lines of Windows behind a mark, and no end", "m.txt", "\xef\xbb\xbfann\r\n\r\nbob", "", "ann bob"},
		{"a title", "m.txt", "user_id\nann\n", "", "ann"},
		{"a comma makes it CSV", "m.txt", "name,id\nAnn,ann\n", "", "ann"},
		{"a tab does", "m.txt", "name\tuserId\nAnn\tann\n", "", "ann"},
		{"TSV", "m.tsv", "ann\nbob\n", "", "ann bob"},
		{"CSV with semicolons", "m.csv", "name;user_id\nAnn;ann\nBob;bob\n", "", "ann bob"},
		{"CSV of one column", "m.csv", "user_id\nann\n", "", "ann"},
		{"semicolons in ids, one a line", "m.txt", "a;b\nc;d\n", "", "a;b c;d"},
		{"quotes", "m", `"ann"` + "\n" + `"bo""b"` + "\n", "", `ann bo"b`},
		{"a column by name", "m.csv", "id,crm\nann,x1\n", "CRM", "x1"},
		{"no title", "m.csv", "ann,1\nbob,2\n", "", "ann bob"},
		{"placeholders are left out", "m.txt", "null\nann\n1\n", "", "ann"},

		{"nothing", "m.txt", "", "", "! m.txt names nobody; nothing was changed: `personasync audience close KEY` has every member leave"},
		{"a title alone", "m.csv", "user_id\n", "", "! m.csv names nobody; nothing was changed: `personasync audience close KEY` has every member leave"},
		{"placeholders alone", "m.txt", "null\nna\n", "", "! m.txt names nobody; nothing was changed: `personasync audience close KEY` has every member leave"},
		{"a column that is not there", "m.csv", "id;crm\nann;x\n", "nick", `! m.csv, line 1: no column is called "nick": there are id, crm; nothing was changed`},
		{"a short line", "m.csv", "name,id\nAnn\n", "", "! m.csv, line 2: no id in column 2; nothing was changed"},
		{"two bytes a character", "m.txt", "a\x00n\x00n\x00\n", "", "! m.txt, line 1: a zero byte: this is no text file; nothing was changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := List{Name: tt.file, Column: tt.column, Input: strings.NewReader(tt.text)}
			var got []string
			for id, err := range l.Users() {
				if err != nil {
					id = fmt.Sprint("! ", err)
				}
				got = append(got, id)
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
