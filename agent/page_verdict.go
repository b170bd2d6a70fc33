package agent

import (
	"fmt"
	"strings"
	"time"

	"personasync/store"
)

// Verdict is one answer to the question that brings people to the status page: is anyone's membership
// wrong in MoEngage, why, and what do I type?
type Verdict struct {
	Level   string `json:"level"` // ok | warn | bad
	Text    string `json:"text"`
	Command string `json:"command"` // what to type; may be empty
}

const (
	// slow is how long the oldest change may wait before somebody should know, where changes leave as
	// they come.
	slow = 15 * time.Minute
	// diskSoon is when the end of the disk is worth a warning.
	diskSoon = 48 * time.Hour
	// behind is how many records not applied are more than a busy moment.
	behind = 200_000
)

// verdicts judges a snapshot, the worst first. stopped: MoEngage refuses in a way that waiting does not
// cure. realtime: no change waits for a schedule.
func verdicts(s *Snapshot, stopped, realtime bool) []Verdict {
	var bad, warn []Verdict
	st := &s.Status
	if !st.Ready {
		bad = append(bad, Verdict{"bad", "Events are not being accepted: " + st.Unready + ". Segment keeps them and tries again for about four hours.", "personasync status"})
	}
	failing := st.MoEngage.State == "failing"
	switch {
	case stopped:
		bad = append(bad, Verdict{"bad", "MoEngage refuses everything" + sinceText(st.MoEngage.Since) + ". " + ended(st.MoEngage.LastError) + "Nothing is lost; one request a minute tries whether it is mended.", "personasync config check"})
	case failing:
		warn = append(warn, Verdict{"warn", "MoEngage does not take requests" + sinceText(st.MoEngage.Since) + ". " + ended(st.MoEngage.LastError) + "Changes wait and are tried again.", "personasync outbox list"})
	}
	if oldest := time.Duration(st.OldestPendingS) * time.Second; realtime && !failing && oldest > slow {
		warn = append(warn, Verdict{"warn", fmt.Sprintf("The oldest of %s has waited for %s, although MoEngage answers.", quantity(st.Pending, "change"), forPeople(oldest)), "personasync outbox list"})
	}
	if st.Parked > 0 {
		text := fmt.Sprintf("%s could not be used or delivered: parked until you decide.", quantity(st.Parked, "item"))
		if e := st.Expiring; e != nil {
			text += fmt.Sprintf(" Undecided, %s within a week, the first on %s.", expiryOf(e), e.First.UTC().Format("2 January"))
		}
		warn = append(warn, Verdict{"warn", text, "personasync outbox stats"})
	}
	if st.Held > 0 {
		warn = append(warn, Verdict{"warn", fmt.Sprintf("%s held back, waiting for your decision.", are(st.Held, "change")), "personasync outbox list --state held"})
	}
	if st.Unapplied > behind {
		warn = append(warn, Verdict{"warn", fmt.Sprintf("%s received and not applied yet: membership lags behind.", are(st.Unapplied, "event")), "personasync status"})
	}
	if f := s.Forecast; f.DiskS > 0 && f.DiskS < int64(diskSoon/time.Second) {
		warn = append(warn, Verdict{"warn", fmt.Sprintf("At the growth of the last hour the disk lasts %s. Then events are refused with 503.", f.Disk), "df -h"})
	}
	if all := append(bad, warn...); len(all) > 0 {
		return all
	}
	if st.Pending > 0 {
		return []Verdict{{"ok", fmt.Sprintf("%s on the way to MoEngage. Nothing is stuck.", are(st.Pending, "change")), ""}}
	}
	return []Verdict{{"ok", "MoEngage was told everything. Nothing waits, nothing is parked.", ""}}
}

func sinceText(since string) string {
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return ""
	}
	return " since " + at.UTC().Format("15:04 UTC, 2 January")
}

// ended makes sentences of what may lack its full stop, with a space behind them.
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

// quantity counts things in words: "1 change", "1,204 changes".
func quantity(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return thousands(n) + " " + thing + "s"
}

func are(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing + " is"
	}
	return quantity(n, thing) + " are"
}

func thousands(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
