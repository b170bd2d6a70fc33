package query

import (
	"cmp"
	"slices"
	"strings"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Stats counts the changes that pass the filter, by state, kind, computation and reason. Without a state it counts
// pending, held and parked ones.
func (v *Reader) Stats(f domain.OutboxFilter) ([]domain.StatLine, error) {
	var all []domain.StatLine
	for cursor, first := "", true; first || cursor != ""; first = false {
		lines, next, err := v.StatsPage(f, cursor)
		if err != nil {
			return nil, err
		}
		all, cursor = MergeStats(all, lines), next
	}
	return all, nil
}

// StatsPage is Stats of a part of the changes, for readers that must not read for long at a time. MergeStats adds up
// the parts. next is the cursor of the next part, "" at the end.
func (v *Reader) StatsPage(f domain.OutboxFilter, after string) (lines []domain.StatLine, next string, err error) {
	s := cmp.Or(f.State, domain.StatePending)
	if state, rest, found := strings.Cut(after, ":"); found {
		if s, found = domain.ParseState(state); !found {
			return nil, "", ErrBadCursor
		}
		after = rest
	}
	l := &Listing{Filter: f}
	l.Filter.State, l.Filter.Limit = s, 2*state.PageScan
	if l.at, err = parseCursor(after); err != nil {
		return nil, "", err
	}
	if err := v.Read(l.slice); err != nil {
		return nil, "", err
	}
	for _, line := range l.Lines {
		i := &line.info
		lines = append(lines, domain.StatLine{State: i.State, Kind: i.Kind, Computation: i.Computation, Reason: i.Reason, Cause: cmp.Or(i.Cause, i.Reason),
			Count: 1, First: i.ReceivedAt, Last: i.ReceivedAt, Samples: []string{i.ID}})
	}
	if l.full() { // within one user
		l.at, l.done = l.Lines[len(l.Lines)-1].at, false
	}
	switch {
	case !l.done:
		next = s.String() + ":" + l.at.String()
	case f.State == 0 && s < domain.StateParked:
		next = (s + 1).String() + ":"
	}
	return MergeStats(nil, lines), next, nil
}

// statSamples is how many ids a line of the statistics names.
const statSamples = 3

// statCauses bounds how many causes of one reason are told apart. The others share one.
const statCauses = 50

// otherCauses is the cause that those beyond statCauses share.
func otherCauses(reason string) string { return reason + ": other words" }

// MergeStats adds up lines of one kind, in the order that a listing shows.
func MergeStats(a, b []domain.StatLine) []domain.StatLine {
	type reason struct{ state, kind, computation, reason string }
	type cause struct {
		reason
		words string
	}
	place, causes := make(map[cause]int), make(map[reason]int)
	lines := make([]domain.StatLine, 0, len(a)+1)
	for _, line := range slices.Concat(a, b) {
		of := reason{line.State, line.Kind, line.Computation, line.Reason}
		c := cause{of, line.Cause}
		at, met := place[c]
		if !met && causes[of] >= statCauses {
			line.Cause = otherCauses(line.Reason)
			c.words = line.Cause
			at, met = place[c]
		}
		if !met {
			causes[of]++
			place[c] = len(lines)
			line.Samples = slices.Clone(line.Samples)
			lines = append(lines, line)
			continue
		}
		same := &lines[at]
		same.Count += line.Count
		same.First, same.Last = min(same.First, line.First), max(same.Last, line.Last)
		same.Samples = append(same.Samples, line.Samples[:min(len(line.Samples), statSamples-min(statSamples, len(same.Samples)))]...)
	}
	slices.SortFunc(lines, func(a, b domain.StatLine) int {
		return cmp.Or(strings.Compare(a.State, b.State), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Computation, b.Computation), strings.Compare(a.Reason, b.Reason), strings.Compare(a.Cause, b.Cause))
	})
	return lines
}
