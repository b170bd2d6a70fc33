package condition

import (
	"time"

	"personasync/agent/config"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

// BackupJob is the name that the schedule of [backup] is listed by.
const BackupJob = "[backup]"

// Backup is how the scheduled backups stand.
type Backup struct {
	Dir  string `json:"dir"`
	File string `json:"file"` // the last good backup; "" before the first
	Made string `json:"made"` // the moment that it holds, RFC 3339; "" before the first
	AgeS int64  `json:"age_s"`

	Bytes int64  `json:"bytes"`
	Users uint64 `json:"users"`

	Overdue  bool   `json:"overdue"` // the schedule asked for a newer one some time ago
	Running  bool   `json:"running"`
	FailedAt string `json:"failed_at"` // of the last run that ended, if it failed; RFC 3339
	Error    string `json:"error"`
}

// leastOverdue is how long after its time a backup may be missing before that is a condition.
const leastOverdue = time.Hour

// NewBackup joins the last good backup, nil before the first, with the job that makes them.
func NewBackup(c config.Backup, good *store.GoodBackup, job scheduler.Planned, schedule scheduler.Schedule, now time.Time) *Backup {
	b := &Backup{Dir: c.Dir, Running: job.Running, FailedAt: domain.Timestamp(job.Last.FailedAt), Error: job.Last.Error}
	since := job.Last.Finished // when the job was first seen, if it never ran
	if !job.Last.Started.IsZero() {
		since = job.Last.Started
	}
	if good != nil {
		b.File, b.Made, b.Bytes, b.Users, b.AgeS = good.File, domain.Timestamp(good.Made.Truncate(time.Second)), good.Bytes, good.Users, Age(good.Made, now)
		since = good.Made
	}
	if due := schedule.Next(since); !since.IsZero() && !due.IsZero() {
		b.Overdue = now.Sub(due) > max(leastOverdue, schedule.Next(due).Sub(due)/4)
	}
	return b
}

// backup holds while the last scheduled backup failed, or while there should be a newer one.
func (f *Facts) backup() *Condition {
	b := f.Status.Backup
	if b == nil || b.FailedAt == "" && !b.Overdue {
		return nil
	}
	last := "There is no good backup yet."
	if b.Made != "" {
		last = "The last good one is of " + atOf(b.Made) + ": a restore would lose everything after it."
	}
	if b.FailedAt != "" {
		return condition(warning, b.FailedAt, []string{"personasync schedule", "ls -la " + domain.ShellWord(b.Dir)},
			"The last scheduled backup failed, at %s: %s%s", atOf(b.FailedAt), ended(b.Error), last)
	}
	why := "No run of it has succeeded since."
	if b.Running {
		why = "One is under way."
	}
	return condition(warning, "", []string{"personasync schedule", "personasync status"}, "A scheduled backup is overdue. %s %s", last, why)
}
