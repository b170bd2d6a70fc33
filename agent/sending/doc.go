// Package sending is when and how changes leave for MoEngage, as a configuration says.
//
// [Senders] are the three senders, for transitions, for cohorts and for users to delete. [Config] is what a sender needs of a configuration,
// and [Schedules] are the times at which changes leave, each for one job of the store. A change without a schedule
// leaves at once. [JobTitle] is the name that people know a job by.
//
// Invariants: a failure of one endpoint does not stop the other. A run of a schedule ends when none of the changes received
// until its time is left. It goes by the schedules in force, also when they changed during the run.
package sending
