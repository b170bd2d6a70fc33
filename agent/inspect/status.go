package inspect

import (
	"context"
	"slices"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// Status implements Inspector.
func (l *Local) Status(ctx context.Context) (condition.Status, error) {
	if l.shared == nil {
		return l.readStatus(ctx)
	}
	return l.shared.status.get(ctx, func() (condition.Status, error) { return l.readStatus(ctx) })
}

func (l *Local) readStatus(ctx context.Context) (s condition.Status, err error) {
	now := time.Now()
	err = l.look(ctx, func(v *store.View) error {
		counts, err := v.Counts()
		if err != nil {
			return err
		}
		sent, err := v.Sent(now.Add(-time.Minute))
		if err != nil {
			return err
		}
		list, err := v.Computations()
		if err != nil {
			return err
		}
		process := l.from.Process()
		if process.Elsewhere, err = elsewhere(v, l.from.Config()); err != nil {
			return err
		}
		if l.shared != nil && process.Store != nil {
			process.Standstill = l.shared.progress.Standstill(counts.Received, counts.Unapplied, now)
		}
		s = condition.NewStatus(counts, sent, process, l.from.Config().MoEngage, l.from.Version, now)
		if s.Workspace, err = v.SentTo(); err != nil {
			return err
		}
		s.Guard, s.Staleness = condition.Guarded(list), condition.StalenessOf(list, now)
		if err := l.readUpkeep(v, &s, list, now); err != nil {
			return err
		}
		if s.Expiring, err = v.Expiring(now, l.from.Config().Retention.Parked.Duration); err != nil {
			return err
		}
		if s.Salvages, err = v.Salvages(); err != nil {
			return err
		}
		s.Salvages = condition.Whole(s.Salvages)
		kept, err := v.Notices()
		if err != nil {
			return err
		}
		s.Notify = condition.NewNotify(l.from.Config().Receivers(), kept, process.Receivers)
		if err := readPauses(v, &s, now); err != nil {
			return err
		}
		f := &condition.Facts{Now: now, Status: &s, LastReceived: counts.LastReceived, Oldest: counts.OldestOfJobs, Process: process, Computations: list}
		s.OldestDue, s.Conditions = f.OldestDue(), f.Judge()
		if l.shared != nil {
			l.shared.seen.Date(s.Conditions, now)
		}
		return nil
	})
	return s, err
}

// elsewhere returns the workspace of MoEngage that files belong to, if an agent with the configuration c would send them to another
// one, and so sends nothing; "" if it may. Agents that share a store find out for themselves, see condition.Store.
func elsewhere(v *store.View, c *config.Config) (string, error) {
	if c.Store.OnPostgres() {
		return "", nil
	}
	was, err := v.SentTo()
	if c.Workspace().Admits(was) == nil {
		was = ""
	}
	return was, err
}

// readUpkeep reads how the jobs went: verifications, backups, and those that failed.
func (l *Local) readUpkeep(v *store.View, s *condition.Status, list []domain.ComputationInfo, now time.Time) error {
	verified, err := v.Verifications()
	if err == nil {
		verified, err = condition.Standing(verified, list, v.SendsAttributes)
	}
	if err != nil {
		return err
	}
	s.Verify = condition.SumVerifications(verified)
	jobs, err := l.from.Plan(v)
	if err != nil {
		return err
	}
	s.FailedJobs = failedJobs(jobs)
	s.Backup, err = l.backup(v, jobs, now)
	return err
}

// readPauses reads the pauses that hold now.
func readPauses(v *store.View, s *condition.Status, now time.Time) error {
	pause, err := v.Pause()
	if err != nil {
		return err
	}
	if pause.Holds(now) {
		s.Pause = pause
	}
	s.Pauses, err = v.Pauses()
	s.Pauses = slices.DeleteFunc(s.Pauses, func(p domain.Pause) bool { return !p.Holds(now) })
	return err
}

// backup is how the scheduled backups stand; nil if none is scheduled.
func (l *Local) backup(v *store.View, jobs []Planned, now time.Time) (*condition.Backup, error) {
	i := slices.IndexFunc(jobs, func(p Planned) bool { return p.Job == condition.BackupJob })
	if i < 0 {
		return nil, nil
	}
	good, err := v.GoodBackup()
	if err != nil {
		return nil, err
	}
	return condition.NewBackup(l.from.Config().Backup, good, jobs[i].Planned, jobs[i].Schedule, now), nil
}
