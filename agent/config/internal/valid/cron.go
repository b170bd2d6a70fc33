package valid

import (
	"errors"
	"time"
	_ "time/tzdata" // a bare container has no zone files; schedule.timezone must not depend on them

	"personasync/scheduler"
)

// CronSpec returns why a cron spec is invalid in zone, or nil. The error does not begin with the spec, because the
// fault shows it already.
func CronSpec(spec string, zone *time.Location) error {
	_, err := scheduler.Parse(spec, zone)
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
