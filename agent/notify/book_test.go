package notify

import (
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func holds(names ...string) (list []condition.Condition) {
	for _, name := range names {
		name, severity, graver := strings.Cut(name, "!")
		c := condition.Condition{Name: name, Severity: "warning", Text: "It is so.", Commands: []string{"personasync status"}}
		if graver {
			c.Severity = condition.Critical + severity
		}
		list = append(list, c)
	}
	return list
}

// step is a look at the conditions, so long after the start of the story.
type step struct {
	at    time.Duration
	holds []condition.Condition
}

// play gives steps to a book, tells what is due after each, and returns what was told.
func play(b *book, steps []step) (told []string) {
	for _, s := range steps {
		now := noon.Add(s.at)
		b.observe(s.holds, now)
		list, _ := b.due(now, 2*time.Minute)
		for _, n := range list {
			m := b.message(&Config{Host: "h"}, n)
			told = append(told, strings.TrimSuffix(m.Condition+" "+m.State+" "+m.Severity, " warning"))
			b.told(m, now)
		}
	}
	return told
}

func TestAConditionIsToldOnceItBeginsAndOnceItEnds(t *testing.T) {
	const m = time.Minute
	for _, c := range []struct {
		name  string
		steps []step
		told  string
	}{
		{"it lasts", []step{{0, holds("lag")}, {m, holds("lag")}, {2 * m, holds("lag")}, {9 * m, holds("lag")}, {10 * m, nil}, {12 * m, nil}, {20 * m, nil}}, "lag began, lag ended"},
		{"it does not last", []step{{0, holds("lag")}, {m, holds("lag")}, {2 * m, nil}, {9 * m, nil}}, ""},
		{"it flaps faster than after", []step{{0, holds("lag")}, {m, nil}, {2 * m, holds("lag")}, {3 * m, nil}, {4 * m, holds("lag")}, {5 * m, nil}}, ""},
		{"it is over for a moment", []step{{0, holds("lag")}, {2 * m, holds("lag")}, {5 * m, nil}, {6 * m, holds("lag")}, {7 * m, nil}, {8 * m, holds("lag")}, {30 * m, holds("lag")}}, "lag began"},
		{"it comes again", []step{{0, holds("lag")}, {2 * m, holds("lag")}, {5 * m, nil}, {7 * m, nil}, {8 * m, holds("lag")}, {10 * m, holds("lag")}}, "lag began, lag ended, lag began"},
		{"the graver comes first", []step{{0, holds("held", "not_ready!")}, {2 * m, holds("held", "not_ready!")}}, "not_ready began critical, held began"},
		{"it becomes graver, and less so", []step{{0, holds("disk")}, {2 * m, holds("disk")}, {3 * m, holds("disk!")}, {5 * m, holds("disk!")}, {6 * m, holds("disk")}, {9 * m, holds("disk")}, {10 * m, nil}, {12 * m, nil}}, "disk began, disk began critical, disk ended critical"},
		{"it becomes graver, and ends", []step{{0, holds("disk")}, {2 * m, holds("disk")}, {3 * m, holds("disk!")}, {4*m + 30*time.Second, nil}, {5 * m, nil}, {6 * m, holds("disk")}, {20 * m, holds("disk")}}, "disk began"},
		{"one ends before it is told that it began, while the receiver is down", []step{{0, holds("lag", "held")}, {time.Minute, holds("held")}, {2 * m, holds("held")}}, "held began"},
	} {
		b := newBook(store.Notices{}, noon.Add(-time.Hour))
		if got := strings.Join(play(&b, c.steps), ", "); got != c.told {
			t.Errorf("%s: told %q, want %q", c.name, got, c.told)
		}
	}
}

// TestARestartNeitherRepeatsNorForgets: a book that is made of the record at any moment tells the rest of the story.
func TestARestartNeitherRepeatsNorForgets(t *testing.T) {
	const m = time.Minute
	steps := []step{{0, holds("lag")}, {m, holds("lag")}, {2 * m, holds("lag")}, {3 * m, holds("lag")}, {4 * m, nil}, {5 * m, nil}, {9 * m, nil}, {12 * m, holds("lag")}, {13 * m, holds("lag")}, {14 * m, holds("lag")}}
	for cut := range steps {
		b := newBook(store.Notices{}, noon.Add(-time.Hour))
		told := play(&b, steps[:cut])
		again := newBook(b.record("url"), noon.Add(-time.Hour))
		told = append(told, play(&again, steps[cut:])...)
		if got := strings.Join(told, ", "); got != "lag began, lag ended, lag began" {
			t.Errorf("restarted before step %d: told %q", cut, got)
		}
	}
}

// TestAStartDoesNotCallFailuresOver: a process that has just begun knows of none, whatever after says.
func TestAStartDoesNotCallFailuresOver(t *testing.T) {
	record := store.Notices{Open: []store.Notice{{Condition: "moengage_failing", Severity: "warning", Told: began, Began: noon}}}
	b := newBook(record, noon)
	b.observe(nil, noon)
	if list, wait := b.due(noon.Add(time.Minute), 0); len(list) != 0 || wait != time.Minute {
		t.Errorf("due %v, and the next in %v", list, wait)
	}
	b.observe(holds("moengage_failing"), noon.Add(time.Minute))
	if list, wait := b.due(noon.Add(time.Hour), 0); len(list) != 0 || wait != 0 {
		t.Errorf("due %v, and the next in %v", list, wait)
	}
}

// TestAClockThatWasSetBackPutsNoMessageOff: what began in the year ahead is told as if it began at the start.
func TestAClockThatWasSetBackPutsNoMessageOff(t *testing.T) {
	record := store.Notices{Open: []store.Notice{{Condition: "lag", Differs: noon.AddDate(1, 0, 0)}, {Condition: "held"}}}
	b := newBook(record, noon)
	b.observe(holds("lag"), noon)
	if list, wait := b.due(noon, time.Minute); len(list) != 0 || wait != time.Minute {
		t.Errorf("due %v, and the next in %v", list, wait)
	}
	if list, _ := b.due(noon.Add(time.Minute), time.Minute); len(list) != 1 || list[0].Condition != "lag" {
		t.Errorf("due %v", list)
	}
}

// TestAnEndWhileItsBeginningIsSentIsTold: and only after it has lasted.
func TestAnEndWhileItsBeginningIsSentIsTold(t *testing.T) {
	b := newBook(store.Notices{}, noon.Add(-time.Hour))
	b.observe(holds("lag"), noon)
	list, _ := b.due(noon, 0)
	m := b.message(&Config{}, list[0])
	b.observe(nil, noon.Add(time.Second)) // it was never told: nothing is known of it any more
	b.told(m, noon.Add(2*time.Second))
	if list, wait := b.due(noon.Add(2*time.Second), time.Minute); len(list) != 0 || wait != time.Minute {
		t.Errorf("due %v, in %v", list, wait)
	}
	if list, _ := b.due(noon.Add(2*time.Minute), time.Minute); len(list) != 1 || b.message(&Config{}, list[0]).State != ended {
		t.Errorf("due %v", list)
	}
}

// TestAMessageNamesEveryConditionAsItIs: under its name, as severe as it is, with its section of the runbook.
func TestAMessageNamesEveryConditionAsItIs(t *testing.T) {
	for _, k := range condition.Kinds {
		for _, severity := range k.Severities {
			b := newBook(store.Notices{}, noon)
			b.observe([]condition.Condition{{Name: k.Name, Severity: severity, Text: "It is so.", Commands: []string{"personasync status"}}}, noon)
			due, _ := b.due(noon, 0)
			if len(due) != 1 {
				t.Errorf("of %s, %s, %d messages are due", k.Name, severity, len(due))
				continue
			}
			if m := b.message(&Config{}, due[0]); m.Condition != k.Name || m.Severity != severity || m.Runbook != condition.Runbook(k.Name, severity) {
				t.Errorf("of %s, %s, the message is %+v", k.Name, severity, m)
			}
		}
	}
}
