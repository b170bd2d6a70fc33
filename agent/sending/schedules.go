package sending

import (
	"cmp"
	"fmt"

	"personasync/agent/config"
	"personasync/scheduler"
)

// DefaultJob is the name that the default schedule, job "" of the store, is listed by: its section of the
// configuration. No computation's key has brackets.
const DefaultJob = "[schedule]"

// JobTitle is the name under which a job of the store is listed.
func JobTitle(job string) string { return cmp.Or(job, DefaultJob) }

// Schedule is when the changes of a job of the store leave. Changes of a job without one leave at once.
type Schedule struct {
	scheduler.Schedule
	Job string // "" is the default schedule, else the name of a computation's section
}

// Schedules returns those of c: the default one unless it is real time, and one for each computation with its
// own.
func Schedules(c *config.Config) (list []Schedule, err error) {
	add := func(job, spec string) error {
		s, err := scheduler.Parse(spec, c.Location())
		if err != nil {
			return fmt.Errorf("schedule of %s: %w", JobTitle(job), err)
		}
		list = append(list, Schedule{s, job})
		return nil
	}
	if c.Schedule.Mode == "cron" {
		if err := add("", c.Schedule.Cron); err != nil {
			return nil, err
		}
	}
	for i := range c.Computations {
		if own := &c.Computations[i]; own.Schedule != "" {
			if err := add(own.Name(), own.Schedule); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// SchedulesByJob is Schedules by job of the store.
func SchedulesByJob(c *config.Config) map[string]scheduler.Schedule {
	list, err := Schedules(c)
	if err != nil {
		return nil // such a configuration is not in force
	}
	byJob := make(map[string]scheduler.Schedule, len(list))
	for _, s := range list {
		byJob[s.Job] = s.Schedule
	}
	return byJob
}
