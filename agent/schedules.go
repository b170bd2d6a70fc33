package agent

import (
	"fmt"

	"personasync/agent/config"
	"personasync/agent/inspect"
	"personasync/scheduler"
)

// sendSchedule is when the changes of a job of the store leave. Changes of a job without one leave at once.
type sendSchedule struct {
	scheduler.Schedule
	job string // "" is the default schedule, else the name of a computation's section
}

// schedulesOf returns the schedules of c: the default one unless it is real time, and one for each computation with its
// own.
func schedulesOf(c *config.Config) (list []sendSchedule, err error) {
	add := func(job, spec string) error {
		s, err := scheduler.Parse(spec, c.Location())
		if err != nil {
			return fmt.Errorf("schedule of %s: %w", inspect.JobTitle(job), err)
		}
		list = append(list, sendSchedule{s, job})
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

// schedulesByJob is schedulesOf by job.
func schedulesByJob(c *config.Config) map[string]scheduler.Schedule {
	list, err := schedulesOf(c)
	if err != nil {
		return nil // such a configuration is not in force
	}
	byJob := make(map[string]scheduler.Schedule, len(list))
	for _, s := range list {
		byJob[s.job] = s.Schedule
	}
	return byJob
}
