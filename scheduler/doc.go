// Package scheduler runs named jobs: at the times of a cron spec, and on demand.
//
// There are three things in it. A [Schedule] is a parsed spec that tells the next time after a given
// one. A [Job] is a name, a schedule and something to do. A [Scheduler] does the jobs and remembers in
// a [Ledger] which run it began last, so that it knows after a restart what it missed.
//
// # Specs
//
// A spec has the five fields of cron (minute, hour, day of month, month, day of week, as
// github.com/robfig/cron/v3 reads them), or is one of @hourly, @daily, @midnight, @weekly, @monthly,
// @yearly, @annually, or "@every 90m".
//
// Of robfig/cron only the parser is used. Its runner keeps no record of what it ran, so it can neither
// count nor catch up on missed runs, and sleeps until the next run in one piece, across suspended hosts
// and changed clocks. Its arithmetic skips a job at 02:30 on the day the clocks go forward and runs it
// twice on the day they go back, and gives up after five years, short of a leap day in 2104. Its
// parser panics on "TZ=UTC", turns "@every -1h" into every second, and accepts specs that never come.
// [Parse] answers for the last three, and [Schedule.Next] for the others.
//
// # When clocks change
//
// A job at a time of day runs once for every such time: one that falls into the gap in spring runs at
// the first instant after it (several that fall into it make one run), one that comes twice in autumn
// runs the first time. A job that comes every hour ("0 * * * *", "*/5 * * * *") follows the hours that
// really pass, and so runs in both of the repeated ones and makes up for nothing in the gap. Between
// them stand specs such as "*/5 2 * * *", whose minutes are written as a repetition within certain
// hours: they run through both of the repeated hours, and a gap that swallows some of their times makes
// one run at its end, so that no day goes without.
//
// "@every D" is not measured from the start of the process, nor from the last run: its times are the
// multiples of D since Monday, 1 January of year 1, 00:00 UTC, whatever the zone. So a restart or a
// reload does not move them, a process that is restarted more often than D still gets its runs, missed
// ones can be counted, and another process can tell the next. "@every 5m" runs at :00, :05 and so on,
// "@every 168h" on Mondays. The price is that a first run comes after anything up to D.
//
// # What is promised
//
//   - Runs of one job never overlap. Different jobs run beside each other.
//   - A time of the schedule is missed when no run of its own began at it: the process was down, the
//     host asleep for longer than [Job] tells, or the job's previous run still under way. Missed times
//     are counted, and either caught up by one run for all of them, in the name of the last, or skipped.
//   - A run that a crash or a stop cut off is run again at the next start, also where missed ones are
//     skipped: it had begun. One that returned an error or panicked is over, and the ledger says so.
//   - A job owes nothing for the time before it was first seen, which the ledger also keeps, nor for
//     the time in which [Scheduler.Replace] had taken it away.
//   - A failing ledger is logged and delays nothing; what it did not keep may run again, or be missed
//     unnoticed, after a restart.
//
// # Caveats
//
// The ledger keeps no specs. A job whose spec was changed while the process was down is judged by the
// new one from its last run on: it may be caught up once and count times that never were its own. A
// job that was taken out of the configuration over a restart, and put back over another, is judged as
// if it had been down. Nothing that was due more than a year ago is counted or caught up. A request by
// [Scheduler.Trigger] is in memory alone until its run begins. A run that kills the process is run again
// at every start: how often to start again is for whoever does the starting to say.
package scheduler
