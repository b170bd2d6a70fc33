// Package scheduler runs named jobs at the times of a cron spec.
//
// It has three types. A [Schedule] is a parsed spec that returns the next time after a given one. A [Job] is a
// name, a schedule and a function. A [Scheduler] runs the jobs and records the last run of each in a [Ledger],
// so that it can count and catch up on missed runs after a restart.
//
// # Specs
//
// A spec has cron's five fields (minute, hour, day of month, month, day of week), read as
// github.com/robfig/cron/v3 reads them. It may also be @hourly, @daily, @midnight, @weekly, @monthly, @yearly,
// @annually, or "@every 90m".
//
// Only the parser of robfig/cron is used. Its runner keeps no record of past runs, so it can neither count nor
// catch up on missed ones. It also sleeps until the next run in one piece, across suspended hosts and changed
// clocks. Its arithmetic skips a job at 02:30 on the day the clocks go forward, runs it twice on the day they
// go back, and gives up after five years, short of a leap day in 2104. Its parser panics on "TZ=UTC", turns
// "@every -1h" into every second, and accepts specs that never come due. [Parse] guards against the parser's
// faults, and [Schedule.Next] replaces the arithmetic.
//
// # When clocks change
//
// A job at a time of day runs once for each such time. A time inside the spring gap runs at the first instant
// after the gap; several such times make one run. A time that occurs twice in autumn runs at the first of the
// two.
//
// An hourly job ("0 * * * *", "*/5 * * * *") follows elapsed hours. It runs in both repeated hours and makes up
// for nothing in the gap.
//
// A spec such as "*/5 2 * * *" repeats within certain hours and stands between the two. It runs through both
// repeated hours. A gap that swallows some of its times makes one run at the end of the gap, so that no day is
// without a run.
//
// "@every D" runs at the multiples of D since Monday, 1 January of year 1, 00:00 UTC, whatever the zone:
// "@every 5m" at :00, :05 and so on, "@every 168h" on Mondays. Its times do not depend on when the process
// started or last ran. So a restart or a reload does not move them, a process that restarts more often than D
// still gets its runs, missed runs can be counted, and another process can compute the next one. The price is
// that the first run may come up to D after the start.
//
// # Guarantees
//
//   - Runs of one job never overlap. Different jobs run concurrently.
//   - A scheduled time is missed when no run began for it. Either the process was down, the host was asleep for
//     longer than [Job.CatchUp] allows, or the previous run was still in progress. Missed times are counted.
//     They are then skipped, or caught up by one run that stands for all of them and carries the time of the
//     last.
//   - A run that a crash or a stop interrupted is run again at the next start, even for a job that skips missed
//     times, because it had begun. A run that returned an error or panicked is finished, and the ledger records
//     the error.
//   - A job owes nothing for the time before it was first seen, which the ledger records, nor for the time
//     between its removal by [Scheduler.Replace] and its return.
//   - A failing ledger is logged and delays no job. After a restart, a run that it did not record may be
//     repeated, and a missed one may go unnoticed.
//
// # Limits
//
// The ledger does not keep specs. If a spec changes while the process is down, times since the last run are
// counted by the new spec, so the job may be caught up once for times that were never its own. A job that is
// removed at one restart and added back at another is treated as if the process had been down.
//
// Times due more than a year ago are neither counted nor caught up. A run that kills the process is run again at every
// start; limiting restarts is the service manager's job.
package scheduler
