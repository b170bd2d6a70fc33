package deletion

import (
	"cmp"

	"personasync/cli/internal/term"
	"personasync/store/domain"
)

// Table has the columns of a list of deletions, and Row a line of it.
var Table = []term.Column{{Title: "ID"}, {Title: "STATE"}, {Title: "USER OR HASH"}, {Title: "ASKED"}, {Title: "BY"}, {Title: "ACCEPTED"}, {Title: "DETAILS", Flexible: true}}

// Row returns a line of Table.
func Row(d domain.Deletion) []string {
	by := d.By
	if d.MessageID != "" {
		by += " " + d.MessageID
	}
	accepted := ""
	if d.State == "delivered" {
		accepted = term.Second(d.Closed)
	}
	return []string{d.ID, d.State, cmp.Or(d.User, "#"+d.Hash), term.Second(d.Asked), by, accepted, details(&d)}
}

// Rows returns the lines of a list.
func Rows(list []domain.Deletion) (rows [][]string) {
	for _, d := range list {
		rows = append(rows, Row(d))
	}
	return rows
}

// Counts is the line of a status about deletions.
func Counts(c domain.DeletionCounts) string {
	return term.Count(c.Pending) + " pending, " + term.Count(c.Held) + " held, " + term.Count(c.Parked) + " parked (`personasync user deletions`)"
}

func details(d *domain.Deletion) string {
	switch {
	case d.State == "delivered" && d.Reason == "not_found":
		return "MoEngage had no such user"
	case d.State == "delivered":
		return "request " + cmp.Or(d.RequestID, "without an id") + ", gone by " + term.Minute(d.Final)
	case d.State == "dropped":
		return "at " + term.Second(d.Closed)
	}
	return cmp.Or(d.Sentence, d.Reason)
}
