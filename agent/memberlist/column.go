package memberlist

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"personasync/store/domain"
)

// idTitles are the titles of id columns as plainTitle returns them, best first. Segment's "key" is not among
// them: it is Segment's own id of the profile.
var idTitles = []string{"userid", "customerid", "externalid", "uniqueid", "uid", "user", "id"}

// First lines of a list with one id a line that are titles. lineTitles are above ids, otherTitles above other
// values.
var (
	lineTitles  = append(slices.Clone(idTitles), "userids", "users", "ids", "memberid", "memberids", "members", "customers")
	otherTitles = []string{"key", "externalids", "email", "emailaddress", "emails", "name", "firstname", "lastname", "phone", "anonymousid", "groupid", "accountid"}
)

const externalIDs = "externalids"

// moreUserIDs matches the columns in which Segment puts further userIds of a profile.
var moreUserIDs = pattern(`^userid[0-9]+$`)

// plainTitle returns a title without case, blanks and punctuation.
func plainTitle(title string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// columns locates the ids in a record. -1 means that there is no such column.
type columns struct {
	name     string
	ids      []int
	external int // Segment's external_ids, used where the id columns are empty
	kind     int // Segment's external_id_type: the kind of id in the row
	flag     int // named like the audience: whether the user is a member
	titles   []string
}

// columns finds the id columns by their titles.
func (l *List) columns(first []string) (c columns, err error) {
	plain := make([]string, len(first))
	for i, title := range first {
		plain[i] = plainTitle(title)
	}
	c = columns{external: -1, kind: slices.Index(plain, "externalidtype"), flag: -1, titles: slices.Clone(first)}
	if key := plainTitle(l.Key); key != "" && !slices.Contains(idTitles, key) {
		c.flag = slices.Index(plain, key)
	}
	external := slices.Index(plain, externalIDs)
	if l.Column != "" {
		return c, c.choose(first, plain, l.Column)
	}
	ranks := idTitles
	if external >= 0 { // Segment's export: all other columns are traits, whatever their names
		ranks, c.external = idTitles[:1], external
	}
	for _, rank := range ranks {
		found := indexesOf(plain, rank)
		if len(found) > 1 {
			return c, fmt.Errorf("%d columns are called like %q: leave one of them, or name it exactly with --column", len(found), first[found[0]])
		}
		if c.ids = found; len(found) == 1 {
			break
		}
	}
	if len(c.ids) == 0 || plain[c.ids[0]] == idTitles[0] {
		for i, title := range plain {
			if moreUserIDs().MatchString(title) {
				c.ids = append(c.ids, i)
			}
		}
	}
	switch {
	case len(c.ids) > 0:
		c.name = first[c.ids[0]]
	case external >= 0:
		c.name = first[external]
	default:
		return c, fmt.Errorf("no column has the title of an id (user_id, customer_id, id): there are %s; name one with --column, or write one id a line in a file that is not called .csv%s", shortList(first), keyNote(plain))
	}
	return c, nil
}

// choose takes the column that the operator named, preferring an exact match of the title.
func (c *columns) choose(first, plain []string, name string) error {
	found := indexesOf(first, name)
	if len(found) == 0 {
		found = indexesOf(plain, plainTitle(name))
	}
	switch {
	case len(found) == 0:
		return fmt.Errorf("no column is called %q: there are %s", name, shortList(first))
	case len(found) > 1:
		return fmt.Errorf("%d columns are called %q: leave one of them", len(found), name)
	}
	c.name = first[found[0]]
	switch plain[found[0]] {
	case externalIDs:
		c.external = found[0]
		return nil
	case "key":
		if slices.Contains(plain, externalIDs) {
			return fmt.Errorf("%q is Segment's own id of a profile, not a userId: omit --column, and the ids are read from %q", c.name, first[slices.Index(plain, externalIDs)])
		}
	}
	if c.ids = found; c.flag == found[0] {
		c.flag = -1
	}
	return nil
}

func keyNote(plain []string) string {
	if slices.Contains(plain, "key") {
		return ". In an export of Segment `key` is its own id of the profile: choose external ids, or user_id, when you export"
	}
	return ""
}

func indexesOf(titles []string, title string) (found []int) {
	for i, t := range titles {
		if t == title && t != "" {
			found = append(found, i)
		}
	}
	return found
}

// shortList quotes the first few cells of a line for an error.
func shortList(cells []string) string {
	const most, longest = 12, 40
	var out []string
	for _, cell := range cells[:min(len(cells), most)] {
		if r := []rune(cell); len(r) > longest {
			cell = string(r[:longest]) + "…"
		}
		out = append(out, cell)
	}
	if len(cells) > most {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}

// read appends the ids of a record to ids.
func (c *columns) read(record, ids []string) ([]string, error) {
	for i := len(c.titles); i < len(record); i++ {
		if plainCell(record[i]) != "" {
			return nil, fmt.Errorf("%d cells, and the first line has %d: is a cell with a separator not quoted?", len(record), len(c.titles))
		}
	}
	if c.flag >= 0 {
		switch said := c.cell(record, c.flag); {
		case said == "", slices.Contains(notIn, strings.ToLower(said)):
			return nil, fmt.Errorf("column %q says %q: this user is not a member; list only members, or remove the column", c.titles[c.flag], said)
		case !slices.Contains(isIn, strings.ToLower(said)):
			return nil, fmt.Errorf("column %q is named after the audience and contains %q, which is neither true nor false: rename the column, or leave it out", c.titles[c.flag], said)
		}
	}
	if c.kind >= 0 && plainTitle(c.cell(record, c.kind)) != idTitles[0] {
		return ids, nil // an address or a device id
	}
	for _, i := range c.ids {
		if i < len(record) {
			if id := domain.FromSheetCell(plainCell(record[i])); id != "" { // `audience members --csv` may have guarded it
				ids = append(ids, id)
			}
		}
	}
	if len(ids) > 0 || c.external < 0 || c.external >= len(record) {
		return ids, nil
	}
	return externalUserIDs(plainCell(record[c.external]), ids)
}

// isIn are the values by which a row says that its user is a member of the audience. notIn are those by which
// it says the opposite, as an empty cell does.
var (
	isIn  = []string{"true", "t", "1", "yes", "y"}
	notIn = []string{"false", "f", "0", "no", "n", "null"}
)

// cell returns cell i of a record as plainCell does, and "" if there is none.
func (c *columns) cell(record []string, i int) string {
	if i < 0 || i >= len(record) {
		return ""
	}
	return plainCell(record[i])
}

// externalUserIDs reads Segment's {"user_id":["u1","u2"],"email":[…]}.
func externalUserIDs(cell string, ids []string) ([]string, error) {
	if cell == "" {
		return ids, nil
	}
	var all map[string]any
	d := json.NewDecoder(bytes.NewReader([]byte(cell)))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("external_ids is not JSON: %w", err)
	}
	values, isList := all["user_id"].([]any)
	if !isList {
		values = []any{all["user_id"]}
	}
	for _, v := range values {
		switch v := v.(type) {
		case string:
			if v = plainCell(v); v != "" {
				ids = append(ids, v)
			}
		case json.Number:
			ids = append(ids, v.String())
		}
	}
	return ids, nil
}

// noIDs are the values that programs write for an empty cell.
var noIDs = []string{`\N`, "#N/A", "#REF!", "#VALUE!", "#NAME?", "NaN", "(null)", "<null>"}

// plainCell strips a cell of blanks, of a byte order mark left in a joined file, and of the formula (="…") that
// stops a spreadsheet from reading an id as a number. It returns "" for an empty cell.
func plainCell(cell string) string {
	cell = strings.TrimFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b' })
	if inner, ok := strings.CutPrefix(cell, `="`); ok && strings.HasSuffix(inner, `"`) {
		cell = strings.TrimSuffix(inner, `"`)
	}
	if slices.Contains(noIDs, cell) {
		return ""
	}
	return cell
}

// spoilt are patterns of cells that are not ids, each with the reason.
var spoilt = []struct {
	is   func() *regexp.Regexp
	what string
}{
	{pattern(`^[0-9]([.,][0-9]+)?[Ee]\+[0-9]+$|^[0-9]+[.,]0+$|^[0-9]{1,3}(,[0-9]{3})+$|^##+$`), "is what a spreadsheet made of a number: export the ids as text"},
	{pattern(`^[-+=|\s]{3,}$|^-\[ RECORD |^\*{3,} `), "is drawn for people: have the database write CSV (psql --csv, mysql --batch)"},
	{pattern(`(?i)^\(?[0-9]+ row(s|\(s\))?([ )].*)?$`), "is what a database says of its answer: have it write the rows only (psql --csv, sqlcmd with SET NOCOUNT ON)"},
	{pattern(`^'.+'$`), "stands in single quotes, which would become part of the id: CSV knows double quotes only"},
}

// spoiltBy returns the reason why an id is spoilt, or "".
func spoiltBy(id string) string {
	for _, s := range spoilt {
		if s.is().MatchString(id) {
			return s.what
		}
	}
	return ""
}

// pattern returns a regular expression that is compiled when it is first used. Most commands use none, and to compile those of
// all packages takes 0.7 ms of every start.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
