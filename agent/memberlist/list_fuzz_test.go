package memberlist

import (
	"bytes"
	"encoding/csv"
	"io"
	"slices"
	"strings"
	"testing"

	"personasync/store/domain"
	syncer "personasync/sync"
)

// members reads a whole list.
func members(name, column, text string) (ids []string, err error) {
	l := List{Name: name, Column: column, Input: strings.NewReader(text)}
	for id, e := range l.Users() {
		if e != nil {
			return ids, e
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// FuzzList reads arbitrary bytes as a member list in both forms. It must return ids that MoEngage accepts, or
// an error that names the line. Ids written as CSV must come back unchanged.
func FuzzList(f *testing.F) {
	for _, text := range []string{
		"", "\ufeff", "ann\nbea\n", "ann\r\nbea", "user_id\nann\n", "user_id,email\nann,a@example.com\n", "\"ann\"\n\"b\"\"ea\"\n", "email,User ID\nx,ann\n",
		"ann,\n,bea\n", "\"ann", "\"a\nb\",c\n", "a\x00b\n", "\xff\xfe\n", "undefined\nnull\n1\n", strings.Repeat("x", 600), "\n\n\nann\n\n", "id\n", ",", "\"",
	} {
		f.Add(text, "")
		f.Add(text, "email")
	}
	f.Fuzz(func(t *testing.T, text, column string) {
		for _, name := range []string{"members.csv", "members.txt"} {
			ids, err := members(name, column, text)
			for _, id := range ids {
				if id == "" || syncer.CheckID(id) != "" || !domain.Nameable(id) {
					t.Fatalf("%s: id %q came out", name, id)
				}
			}
			if err != nil && !strings.Contains(err.Error(), name+", line ") && (len(ids) > 0 || !strings.Contains(err.Error(), "has no members")) {
				t.Fatalf("%s: %v does not say where", name, err)
			}
		}
		var want []string
		for id := range strings.SplitSeq(text, "\n") {
			if id = plainCell(id); id != "" && syncer.CheckID(id) == "" && domain.Nameable(id) && spoiltBy(id) == "" && id != "user_id" {
				want = append(want, id)
			}
		}
		var file bytes.Buffer
		w := csv.NewWriter(&file)
		_ = w.Write([]string{"email", "user_id"})
		for _, id := range want {
			_ = w.Write([]string{column, domain.SheetCell(id)})
		}
		w.Flush()
		if len(want) == 0 { // refused
			return
		}
		if slices.ContainsFunc(want, func(id string) bool { return syncer.CheckID(id) != "" }) {
			return
		}
		if got, err := members("members.csv", "", file.String()); err != nil || !slices.Equal(got, want) {
			t.Fatalf("of %q came %q: %v", want, got, err)
		}
	})
}

// To a CSV reader, the rest of the file after an unclosed quote is one record.
func TestAQuoteThatIsNotClosedTakesNoMemory(t *testing.T) {
	in := &countedReader{r: io.MultiReader(strings.NewReader("user_id\nann\n\""), io.LimitReader(zeros{}, 1<<30))}
	l := List{Name: "members.csv", Input: in}
	var last error
	for _, err := range l.Users() {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "members.csv, line 3: a record of more than a megabyte") {
		t.Errorf("%v", last)
	}
	if in.n > 4<<20 {
		t.Errorf("%d bytes were read of a record that is refused", in.n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

type countedReader struct {
	r io.Reader
	n int
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
