package condition

import (
	"fmt"
	"time"

	"personasync/store/domain"
)

// DeletionStatus is how users are deleted at MoEngage. Pending ones include those in flight.
type DeletionStatus struct {
	Enabled bool `json:"enabled"` // moengage.delete_users
	domain.DeletionCounts
	MaxPerDay int          `json:"max_per_day"`
	OldestS   int64        `json:"oldest_pending_s"`
	MoEngage  Reachability `json:"moengage"` // how it answers deletes
}

// deletionStatus is nil where users are not deleted, and none waits to be.
func deletionStatus(c domain.DeletionCounts, enabled bool, maxPerDay int, r Reachability, now time.Time) *DeletionStatus {
	if !enabled && c.Pending+c.Held+c.Parked == 0 {
		return nil
	}
	return &DeletionStatus{Enabled: enabled, DeletionCounts: c, MaxPerDay: maxPerDay, OldestS: Age(c.Oldest, now), MoEngage: r}
}

// deletionSlow is how long a delete may be pending before that is a condition. The law gives a month; a pause, or an
// outage of a few hours, has a condition of its own.
const deletionSlow = 24 * time.Hour

const listDeletions = "personasync user deletions"

// deletions holds while users whom Segment or an operator wants deleted are not, and waiting does not help.
func (f *Facts) deletions() *Condition {
	d := f.Status.Deletions
	if d == nil {
		return nil
	}
	m := &d.MoEngage
	users := Are(d.Pending, "user")
	switch {
	case d.Held > 0:
		return condition(warning, "", []string{listDeletions + " --state held", "personasync outbox retry --reason " + domain.ReasonDeleteLimit, "personasync outbox drop --state held --reason " + domain.ReasonDeleteLimit},
			"More users than moengage.max_deletes_per_day (%d) were to be deleted at MoEngage in one day: %s held%s. Find out whether that is meant. `retry` deletes them for good; `drop` leaves them at MoEngage.", d.MaxPerDay, Quantity(d.Held, "deletion"), parkedDeletions(d))
	case d.Pending > 0 && !d.Enabled:
		return condition(warning, since(d), []string{listDeletions},
			"%s to be deleted at MoEngage, and moengage.delete_users is false, so nothing is sent%s. Set it to true and reload, or drop them with `personasync outbox drop ID`.", users, parkedDeletions(d))
	case d.Pending > 0 && m.State == "failing" && m.Stopped:
		return condition(warning, m.Since, []string{listDeletions, "personasync outbox explain-code " + codeOf(m.LastError)},
			"MoEngage refuses to delete users%s. %s%s to be deleted%s. Other changes are not affected: look at the scope of the API key.", sinceText(m.Since), lastErrorText(m), users, parkedDeletions(d)).within("", "", m.NextTry)
	case d.Parked > 0:
		return condition(warning, "", []string{listDeletions + " --state parked"},
			"MoEngage refused to delete %s, which stay there until you decide.", Quantity(d.Parked, "user"))
	case f.Now.Sub(d.Oldest) > deletionSlow && !d.Oldest.IsZero() && f.Status.Pause == nil && f.running():
		return condition(warning, since(d), []string{listDeletions},
			"%s to be deleted at MoEngage, the first for %s. %s", users, ForPeople(f.Now.Sub(d.Oldest)), lastErrorText(m))
	}
	return nil
}

func since(d *DeletionStatus) string { return domain.Timestamp(d.Oldest.Truncate(time.Second)) }

func parkedDeletions(d *DeletionStatus) string {
	if d.Parked == 0 {
		return ""
	}
	return fmt.Sprintf(", and %s refused", Quantity(d.Parked, "deletion"))
}
