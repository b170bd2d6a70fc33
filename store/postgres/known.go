package postgres

import (
	"bytes"
	"slices"
	"sort"
)

// row is a key and its value.
type row struct{ key, value []byte }

// span is a part of a table of which every row is known, those from one key up to another, which is not in it.
type span struct {
	from []byte
	to   []byte // nil: the end of the table
	rows []row
}

// covers reports whether a key is in s.
func (s *span) covers(key []byte) bool {
	return bytes.Compare(s.from, key) <= 0 && (s.to == nil || bytes.Compare(key, s.to) < 0)
}

// reaches reports whether the place before a key, nil for the end of the table, is in s.
func (s *span) reaches(key []byte) bool {
	if key == nil || s.to == nil {
		return s.to == nil && (key == nil || bytes.Compare(s.from, key) < 0)
	}
	return bytes.Compare(s.from, key) < 0 && bytes.Compare(key, s.to) <= 0
}

// find returns the place of the first row that is not before a key.
func (s *span) find(key []byte) int {
	return sort.Search(len(s.rows), func(i int) bool { return bytes.Compare(s.rows[i].key, key) >= 0 })
}

// known is what a transaction knows of a table: spans in order, that neither overlap nor touch.
type known []*span

// at returns the span that has a key, nil when it is not known.
func (k known) at(key []byte) *span {
	i := sort.Search(len(k), func(i int) bool { return bytes.Compare(k[i].from, key) > 0 })
	if i > 0 && k[i-1].covers(key) {
		return k[i-1]
	}
	return nil
}

// before returns the span that has the place before a key, nil for the end of the table.
func (k known) before(key []byte) *span {
	i := len(k)
	if key != nil {
		i = sort.Search(len(k), func(i int) bool { return bytes.Compare(k[i].from, key) >= 0 })
	}
	if i > 0 && k[i-1].reaches(key) {
		return k[i-1]
	}
	return nil
}

// learn adds a span. What it has in common with others is the same there, because a transaction sees one moment.
func (k *known) learn(s *span) *span {
	list := *k
	i := sort.Search(len(list), func(i int) bool { return list[i].to == nil || bytes.Compare(list[i].to, s.from) >= 0 })
	j := len(list)
	if s.to != nil {
		j = sort.Search(len(list), func(i int) bool { return bytes.Compare(list[i].from, s.to) > 0 })
	}
	if i < j {
		first, last := list[i], list[j-1]
		if bytes.Compare(first.from, s.from) < 0 {
			s.rows = append(first.rows[:first.find(s.from)], s.rows...)
			s.from = first.from
		}
		if s.to != nil && (last.to == nil || bytes.Compare(last.to, s.to) > 0) {
			s.rows = append(s.rows, last.rows[last.find(s.to):]...)
			s.to = last.to
		}
	}
	*k = slices.Replace(list, i, j, s)
	return s
}

// behind returns the key that follows a key with nothing between.
func behind(key []byte) []byte { return append(bytes.Clone(key), 0) }
