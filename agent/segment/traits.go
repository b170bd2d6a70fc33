package segment

import (
	"slices"

	"personasync/store/domain"
)

// values reads a trait and faults the event if it has no value.
func (c *computation) values() {
	if found := c.columns(); !found && !c.event.PassThrough {
		c.fault(FaultNoValues, "The event of trait "+shown(c.event.Key)+" has no value: traits and properties are missing or empty. Map them whole in Segment's webhook settings.")
	}
}

// columns reads the value under the trait's key, or else a SQL trait's row, in which every member is a column.
// A null is a value too: it clears the attribute.
func (c *computation) columns() (found bool) {
	e := c.event
	if at, object, found := c.keyed(e.Key); found {
		e.Object = object
		e.Columns = []domain.Column{{Name: e.Key, Value: at}}
		return true
	}
	own, other := c.objects()
	for _, object := range [...]domain.Span{own, other} {
		if halved := c.row(object); halved || len(e.Columns) > 0 || e.Fault == FaultTooManyVals {
			e.Object = object
			return true
		}
	}
	return false
}

// row reads every member of an object except the two that are not columns. It reports whether it skipped names
// with half a surrogate pair.
func (c *computation) row(object domain.Span) (halved bool) {
	e := c.event
	var seen map[string]int // of long rows: where each name is
	for m := c.walk(object); m.next(); {
		if string(m.name) == "email" || string(m.name) == "trait_key" {
			continue
		}
		if c.halfName && m.halved() {
			halved = true
			continue
		}
		if i := columnNamed(e.Columns, seen, m.name); i >= 0 {
			e.Columns[i].Value = m.value
			continue
		}
		if len(e.Columns) == maxValues {
			c.faultf(FaultTooManyVals, "The row of trait %s has more than %d columns; Segment's SQL traits have at most 25. Check the program that builds these events.", shown(e.Key), maxValues)
			e.Columns = nil
			return halved
		}
		if len(m.name) > maxName {
			c.faultf(FaultNameTooLong, "The column name %s has %d bytes; at most %d are taken. Rename the column in the SQL trait.", shown(string(m.name)), len(m.name), maxName)
			continue
		}
		e.Columns = append(e.Columns, domain.Column{Name: string(m.name), Value: m.value})
		seen = index(e.Columns, seen)
	}
	return halved
}

// shortRow is the number of columns up to which a linear search beats a map. Segment's rows have at most 25.
const shortRow = 32

// columnNamed returns the index of a column, or -1. seen may be nil.
func columnNamed(columns []domain.Column, seen map[string]int, name []byte) int {
	if seen != nil {
		if i, ok := seen[string(name)]; ok {
			return i
		}
		return -1
	}
	for i := range columns {
		if columns[i].Name == string(name) {
			return i
		}
	}
	return -1
}

// index maintains the name map of a long row. It returns nil for a short one.
func index(columns []domain.Column, seen map[string]int) map[string]int {
	if len(columns) <= shortRow {
		return nil
	}
	if seen == nil {
		seen = make(map[string]int, 2*shortRow)
		for i, column := range columns {
			seen[column.Name] = i
		}
	}
	seen[columns[len(columns)-1].Name] = len(columns) - 1
	return seen
}

// leaveOut lists the object's members that can be neither stored nor sent, so that the other members still
// count. A number beyond a double would make JSON readers refuse the whole request. A name with half a
// surrogate pair reads like others of its kind, so two traits would become one attribute; the sender renames
// those of a track. A trait with nothing left faults the event.
func (c *computation) leaveOut() {
	e := c.event
	if !c.hugeNumber && !c.halfName || e.Object.Len == 0 {
		return // the common case: the event has none
	}
	membership := e.Class == domain.ClassAudience || e.Class == domain.ClassJourneyStep
	row := !membership && (len(e.Columns) != 1 || e.Columns[0].Name != e.Key)
	halves := e.Call != domain.CallTrack || row
	huge := false
	for m := c.walk(e.Object); m.next(); m.hugeNumber = false {
		name := string(m.name)
		e.LeftOut = slices.DeleteFunc(e.LeftOut, func(c domain.Column) bool { return c.Name == name }) // the last of duplicates counts
		if m.hugeNumber || halves && m.halved() {
			e.LeftOut = append(e.LeftOut, domain.Column{Name: name, Value: m.value})
			huge = huge || m.hugeNumber
		}
	}
	e.Columns = slices.DeleteFunc(e.Columns, func(c domain.Column) bool {
		return slices.ContainsFunc(e.LeftOut, func(out domain.Column) bool { return out.Value == c.Value })
	})
	switch {
	case membership || e.PassThrough || len(e.Columns) > 0 || len(e.LeftOut) == 0:
	case huge:
		c.fault(FaultBadValue, "The trait's value is or contains a number beyond 1.8e308, which JSON readers cannot represent. Check its computation.")
	default:
		c.fault(FaultInvalidUTF8, "The names of all columns contain an unpaired surrogate, so two could look alike. Rename the columns in the SQL trait.")
	}
}
