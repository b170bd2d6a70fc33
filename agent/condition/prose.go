package condition

import (
	"fmt"
	"strings"
	"time"

	"personasync/store"
)

// sinceText is " since …" for a sentence; "" if unknown.
func sinceText(since string) string {
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return ""
	}
	return " since " + at.UTC().Format("15:04 UTC, 2 January")
}

// ended ends a text with a full stop and a space.
func ended(text string) string {
	if text == "" {
		return ""
	}
	return strings.TrimRight(text, ". ") + ". "
}

// expiryOf says how many parked items will expire: "3 expire".
func expiryOf(e *store.Expiring) string {
	switch {
	case e.More:
		return "more than " + thousands(e.Count) + " expire"
	case e.Count == 1:
		return "1 expires"
	}
	return thousands(e.Count) + " expire"
}

// Quantity counts things in words: "1 change", "1,204 changes".
func Quantity(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, found := strings.CutSuffix(thing, "y"); found {
		return thousands(n) + " " + stem + "ies"
	}
	return thousands(n) + " " + thing + "s"
}

// Are is Quantity with its verb: "1 change is", "2 changes are".
func Are(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing + " is"
	}
	return Quantity(n, thing) + " are"
}

// were is the verb of what n things were.
func were(n uint64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// thousands writes a number with commas: "1,204".
func thousands(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// ForPeople writes a length of time with its two largest units.
func ForPeople(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(d/time.Second, 1))
	case d < time.Hour:
		return fmt.Sprintf("%d min", (d+30*time.Second)/time.Minute)
	case d < day:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
}

// some lists the first few of names.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// at writes a moment for people.
func at(t time.Time) string { return t.UTC().Format("15:04:05 UTC, 2 January") }

func atText(t time.Time) string { return "at " + at(t) }

// atOf is at for a timestamp of a listing; "" if it is none.
func atOf(timestamp string) string {
	t, err := time.Parse(time.RFC3339Nano, timestamp)
	if err != nil {
		return ""
	}
	return at(t)
}
