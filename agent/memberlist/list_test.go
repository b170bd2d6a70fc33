package memberlist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"
)

const (
	noColumn = "no column has the title of an id (user_id, customer_id, id): there are "
	nameOne  = "name one with --column, or write one id a line in a file that is not called .csv; nothing was changed"
)

// utf16Of encodes a text as Excel saves "Unicode" files.
func utf16Of(text string) string {
	out := []byte("\xff\xfe")
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return string(out)
}

func TestListsAreReadInTheirManyForms(t *testing.T) {
	for _, tt := range []struct{ name, file, text, column, want string }{
		{"one a line", "m.txt", "ann\nbob\n", "", "ann bob"},
		{"lines of Windows behind a mark, and no end", "m.txt", "\xef\xbb\xbfann\r\n\r\nbob", "", "ann bob"},
		{"a title", "m.txt", "user_id\nann\n", "", "ann"},
		{"a comma makes it CSV, which has titles", "m.txt", "ann,1\nbob,2\n", "", "! m.txt, line 1: " + noColumn + "ann, 1; " + nameOne},
		{"an id that ends in a quote", "m.txt", "tv-42\"\nbob\n", "", `tv-42" bob`},
		{"half a character of UTF-16", "m.txt", utf16Of("ann\n") + "b\x00\x00\xdc\n\x00", "", "ann ! m.txt, line 2: an id that is not valid UTF-8: convert the file; nothing was changed"},
		{"Segment's export, its ids first", "m.csv", "external_ids,customer_id\n\"{\"\"user_id\"\":[\"\"ann\"\"]}\",c1\n", "", "ann"},
		{"a comma makes it CSV", "m.txt", "name,id\nAnn,ann\n", "", "ann"},
		{"a tab does", "m.txt", "name\tuserId\nAnn\tann\n", "", "ann"},
		{"TSV", "m.tsv", "user_id\nann\nbob\n", "", "ann bob"},
		{"CSV with semicolons", "m.csv", "name;user_id\nAnn;ann\nBob;bob\n", "", "ann bob"},
		{"CSV of one column", "m.csv", "user_id\nann\n", "", "ann"},
		{"semicolons in ids, one a line", "m.txt", "a;b\nc;d\n", "", "a;b c;d"},
		{"quotes", "m", `"ann"` + "\n" + `"bo""b"` + "\n", "", `ann bo"b`},
		{"a column by name", "m.csv", "id,crm\nann,x1\n", "CRM", "x1"},
		{"no title", "m.csv", "ann,1\nbob,2\n", "", "! m.csv, line 1: " + noColumn + "ann, 1; " + nameOne},
		{"no title in a CSV of one column", "m.csv", "ann\nbob\n", "", "! m.csv, line 1: " + noColumn + "ann; " + nameOne},
		{"a title that says nothing of ids", "m.csv", "e-mail,Plan\na@example.org,gold\n", "", "! m.csv, line 1: " + noColumn + "e-mail, Plan; " + nameOne},
		{"such a title above one id a line", "m.txt", "Email\na@example.org\n", "", `! m.txt, line 1: the title "Email" stands above no ids: say ` + "`--column Email` if they are; nothing was changed"},
		{"and named", "m.txt", "Email\na@example.org\n", "email", "a@example.org"},
		{"titles in capitals, quoted, padded", "M.CSV", "\"NAME\", \"USER_ID\"\nAnn, ann\n", "", "! M.CSV, line 1: bare \" in non-quoted-field; nothing was changed"},
		{"titles in capitals, padded", "M.CSV", "NAME, USER_ID \nAnn, ann \n", "", "ann"},

		{"Segment's export, unformatted", "m.csv", "key,external_ids\nuse_2a,\"{\"\"user_id\"\":[\"\"ann\"\",\"\"ann2\"\"],\"\"email\"\":[\"\"a@example.org\"\"]}\"\nuse_2b,\"{\"\"email\"\":[\"\"b@example.org\"\"]}\"\nuse_2c,{}\n", "", "ann ann2"},
		{"with an id of one word, and of digits", "m.csv", "key,external_ids\nuse_2a,\"{\"\"user_id\"\":\"\"ann\"\"}\"\nuse_2b,\"{\"\"user_id\"\":[48213]}\"\n", "", "ann 48213"},
		{"Segment's export, formatted", "m.csv", "key,external_ids,email,user_id,user_id_1\nuse_2a,{},a@example.org,ann,ann2\nuse_2b,{},b@example.org,,\n", "", "ann ann2"},
		{"with the trait of a customer", "m.csv", "key,external_ids,customer_id,id\nuse_2a,\"{\"\"user_id\"\":[\"\"ann\"\"]}\",c1,7001\n", "", "ann"},
		{"without ids", "m.csv", "key,email\nuse_2a,a@example.org\n", "", "! m.csv, line 1: " + noColumn + "key, email; name one with --column, or write one id a line in a file that is not called .csv. In an export of Segment `key` is its own id of the profile: choose external ids, or user_id, when you export; nothing was changed"},
		{"by its key, as it is told", "m.csv", "key,external_ids\nuse_2a,{}\n", "key", "! m.csv, line 1: \"key\" is Segment's own id of a profile, not a userId: omit --column, and the ids are read from \"external_ids\"; nothing was changed"},
		{"with quotes of a typesetter", "m.csv", "key,external_ids\nuse_2a,{“user_id”:[“ann”]}\n", "", "! m.csv, line 2: external_ids is not JSON: invalid character 'â' looking for beginning of object key string; nothing was changed"},
		{"a warehouse's identifies", "m.csv", "id,received_at,user_id\najs-1f,2026-03-14,ann\n", "", "ann"},
		{"a warehouse's users", "m.csv", "id,received_at\nann,2026-03-14\n", "", "ann"},
		{"the best of several", "m.csv", "id,Customer ID,user\n1001,cust-1,ann\n", "", "cust-1"},
		{"two that are called alike", "m.csv", "user_id,userId\nann,bob\n", "", `! m.csv, line 1: 2 columns are called like "user_id": leave one of them, or name it exactly with --column; nothing was changed`},
		{"of which one is named", "m.csv", "user_id,userId\nann,bob\n", "userId", "bob"},
		{"a column twice", "m.csv", "id,id\nann,bob\n", "id", `! m.csv, line 1: 2 columns are called "id": leave one of them; nothing was changed`},
		{"bars", "m.txt", "name|user_id\nAnn|ann\n", "", "ann"},
		{"semicolons beside a comma", "m.csv", "\"name, first\";user_id\nAnn;ann\n", "", "ann"},
		{"a word to Excel", "m.csv", "sep=;\nname;user_id\nAnn;ann\n", "", "ann"},
		{"cells that Excel must not count with", "m.csv", "user_id,n\n\"=\"\"00123\"\"\",1\n", "", "00123"},
		{"a number that Excel rounded", "m.csv", "user_id\n4.82131E+15\n", "", `! m.csv, line 2: "4.82131E+15" is what a spreadsheet made of a number: export the ids as text; nothing was changed`},
		{"a number that a script made of an id", "m.csv", "user_id\n48213.0\n", "", `! m.csv, line 2: "48213.0" is what a spreadsheet made of a number: export the ids as text; nothing was changed`},
		{"empty cells at the end", "m.csv", "user_id,,\nann,,\nbob,,,\n", "", "ann bob"},
		{"a cell too many", "m.csv", "name,user_id\nEly, Ann,ann\n", "", "! m.csv, line 2: 3 cells, and the first line has 2: is a cell with a separator not quoted?; nothing was changed"},
		{"titles again, of a second file", "m.csv", "user_id,n\nann,1\nuser_id,n\nbob,2\n", "", "ann bob"},
		{"likewise, one a line", "m.txt", "user_id\nann\nuser_id\nbob\n", "", "ann bob"},
		{"lines without an id", "m.csv", "user_id,n\n,1\n  ,2\n\\N,3\n#N/A,4\nann,5\n", "", "ann"},
		{"UTF-16", "m.csv", utf16Of("user_id\tname\r\nann\tÄnne\r\nb😀b\tB\r\n"), "", "ann b😀b"},
		{"half a character of UTF-16", "m.txt", utf16Of("user_id\nann\n") + "\x3d\xd8", "", "ann ! m.txt, line 3: an id that is not valid UTF-8: convert the file; nothing was changed"},
		{"lines of old Macs", "m.csv", "user_id,n\rann,1\rbob,2\r", "", "ann bob"},
		{"JSON", "m.json", ` [{"userId":"ann"}]`, "", "! m.json, line 1: this is JSON: write the ids one a line, for example with `jq -r '.[].userId'`; nothing was changed"},
		{"gzip", "m.csv", "\x1f\x8b\x08\x00", "", "! m.csv, line 1: this is a gzip file: unpack it with `gunzip` first; nothing was changed"},
		{"a workbook", "m.csv", "PK\x03\x04", "", "! m.csv, line 1: this is a ZIP archive or an Excel workbook: unpack it, or save it as CSV (UTF-8); nothing was changed"},
		{"an error page", "m.csv", "<!DOCTYPE html>\n<p>a,b\n", "", "! m.csv, line 1: this is a web page: was the download an error page?; nothing was changed"},
		{"export of nobody", "m.csv", "key,external_ids\n", "", "! m.csv has no members; nothing was changed. To remove every member, use `personasync audience close KEY`"},
		{"placeholders are left out", "m.txt", "null\nann\n1\n", "", "ann"},
		{"ids are read as those of events are", "m.txt", "undefined\n \u00a0\n ann@example.com \n u1\nbea\x1b[1m\n", "", "ann@example.com u1"},

		{"nothing", "m.txt", "", "", "! m.txt has no members; nothing was changed. To remove every member, use `personasync audience close KEY`"},
		{"a title alone", "m.csv", "user_id\n", "", "! m.csv has no members; nothing was changed. To remove every member, use `personasync audience close KEY`"},
		{"placeholders alone", "m.txt", "null\nna\n", "", "! m.txt has no members; nothing was changed. To remove every member, use `personasync audience close KEY`"},
		{"a column that is not there", "m.csv", "id;crm\nann;x\n", "nick", `! m.csv, line 1: no column is called "nick": there are id, crm; nothing was changed`},
		{"a short line", "m.csv", "name,id\nAnn\nBob,bob\n", "", "bob"},
		{"two bytes a character", "m.txt", "a\x00n\x00n\x00\n", "", "! m.txt, line 1: a zero byte: this is no text file; nothing was changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := List{Name: tt.file, Column: tt.column, Input: strings.NewReader(tt.text)}
			if got := idsAndErrors(&l); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// idsAndErrors reads a whole list. It returns the ids, followed by "!" and the error.
func idsAndErrors(l *List) string {
	var got []string
	for id, err := range l.Users() {
		if err != nil {
			id = fmt.Sprint("! ", err)
		}
		got = append(got, id)
	}
	return strings.Join(got, " ")
}

// Lines drawn by psql, mysql and sqlcmd, numbers with a decimal comma, and rows of Segment's tables about
// former members or addresses must not become members.
func TestWhatADatabaseOrASpreadsheetWroteBesideTheIDsBecomesNoMember(t *testing.T) {
	const (
		drawn   = " is drawn for people: have the database write CSV (psql --csv, mysql --batch); nothing was changed"
		counted = " is what a database says of its answer: have it write the rows only (psql --csv, sqlcmd with SET NOCOUNT ON); nothing was changed"
		rounded = " is what a spreadsheet made of a number: export the ids as text; nothing was changed"
		left    = ": this user is not a member; list only members, or remove the column; nothing was changed"
	)
	for _, tt := range []struct{ name, file, text, column, want string }{
		{"mysql", "m.txt", "+---------+\n| user_id |\n+---------+\n| ann     |\n", "", `! m.txt, line 1: "+---------+"` + drawn},
		{"psql", "m.txt", " user_id | name \n---------+------\n ann     | Ann\n(1 row)\n", "", `! m.txt, line 2: "---------+------"` + drawn},
		{"sqlcmd", "m.txt", "user_id\n----------\nann\n", "", `! m.txt, line 2: "----------"` + drawn},
		{"psql, unaligned", "m.csv", "user_id|name\nann|Ann\n(1 row)\n", "", `ann ! m.csv, line 3: "(1 row)"` + counted},
		{"sqlcmd, as CSV", "m.csv", "user_id,name\nann,Ann\n\n(1 rows affected)\n", "", `ann ! m.csv, line 4: "(1 rows affected)"` + counted},
		{"mysql's last line", "m.txt", "user_id\nann\n2 rows in set (0.00 sec)\n", "", `ann ! m.txt, line 3: "2 rows in set (0.00 sec)"` + counted},
		{"an id that speaks of rows", "m.txt", "user_id\n2-rows\n4 rowsons\n", "", "2-rows 4 rowsons"},
		{"a decimal comma", "m.csv", "user_id;n\n4,82131E+15;1\n", "", `! m.csv, line 2: "4,82131E+15"` + rounded},
		{"thousands with commas", "m.csv", "user_id,n\n\"48,213\",1\n", "", `! m.csv, line 2: "48,213"` + rounded},
		{"psql, expanded", "m.txt", "-[ RECORD 1 ]---\nuser_id | ann\n", "", `! m.txt, line 1: "-[ RECORD 1 ]---"` + drawn},
		{"mysql, vertical", "m.txt", "*** 1. row ***\nuser_id: ann\n", "", `! m.txt, line 1: "*** 1. row ***"` + drawn},
		{"a column too narrow", "m.csv", "user_id\n########\n", "", `! m.csv, line 2: "########"` + rounded},
		{"single quotes", "m.csv", "'user_id','name'\n'ann','Ann'\n", "", `! m.csv, line 2: "'ann'" stands in single quotes, which would become part of the id: CSV knows double quotes only; nothing was changed`},
		{"a warehouse's flag", "m.csv", "id,user_id,Gold_Members\nm1,ann,true\nm2,bob,false\n", "", `ann ! m.csv, line 3: column "Gold_Members" says "false"` + left},
		{"a flag in the first column", "m.csv", "gold_members,user_id\ntrue,ann\nfalse,bob\n", "", `ann ! m.csv, line 3: column "gold_members" says "false"` + left},
		{"a flag of nobody", "m.csv", "user_id,gold_members\nann,1\nbob,\n", "", `ann ! m.csv, line 3: column "gold_members" says ""` + left},
		{"a flag that is neither", "m.csv", "user_id,gold_members\nann,1\nbob,out\n", "", `ann ! m.csv, line 3: column "gold_members" is named after the audience and contains "out", which is neither true nor false: rename the column, or leave it out; nothing was changed`},
		{"ids in a column called like the audience", "m.csv", "gold_members\nann\nbob\n", "gold_members", "ann bob"},
		{"the flag of another audience", "m.csv", "user_id,silver\nann,true\nbob,false\n", "", "ann bob"},
		{"Profiles Sync", "m.csv", "external_id,external_id_type\nann,user_id\na@example.org,email\nf3a1,anonymous_id\n", "", "ann"},
		{"by its column", "m.csv", "segment_id,external_id_type,external_id_value\nuse_1,email,a@example.org\nuse_1,user_id,ann\n", "external_id_value", "ann"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := List{Name: tt.file, Key: "gold_members", Column: tt.column, Input: strings.NewReader(tt.text)}
			if got := idsAndErrors(&l); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// A list that cannot be read to its end would remove the members in the unread rest.
func TestAListThatCannotBeReadToItsEndIsRefused(t *testing.T) {
	broken := errors.New("input/output error")
	for _, text := range []string{"ann\nbob\nc", "user_id,n\nann,1\nbob,2\nc"} {
		l := List{Name: "m", Input: io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))}
		var last error
		for _, err := range l.Users() {
			last = err
		}
		if !errors.Is(last, broken) {
			t.Errorf("%q, and no more can be read: it ends with %v", text, last)
		}
	}
}

// A list reports its column, its first two ids and its skipped lines.
func TestAListSaysHowItWasRead(t *testing.T) {
	var skipped []int
	l := List{
		Name: "m.csv", Input: strings.NewReader("key,User ID\nk1,ann\nk2,\nk3,bob\nk4,cid\nk5,null\n"),
		Skipped: func(line int, _ string) { skipped = append(skipped, line) },
	}
	for _, err := range l.Users() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(l.Read.Column, l.Read.First, skipped); got != "User ID[ann bob] [3 6]" {
		t.Error(got)
	}
}
