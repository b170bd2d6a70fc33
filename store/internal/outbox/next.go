package outbox

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Next returns when the next changes are due, by job, and when the next retry is. It is called after Take.
func Next(tx *state.Tx, endpoint domain.Endpoint) domain.Next {
	n := domain.Next{Jobs: make(map[string]time.Time)}
	first := make(map[uint32]uint32) // by job, because a job may have thousands of lanes
	for number, l := range state.Lanes(tx, endpoint) {
		second := state.FirstDue(tx, endpoint, number, l)
		if second == state.NotYet {
			continue
		}
		if known, some := first[state.LaneJob(number)]; !some || second < known {
			first[state.LaneJob(number)] = second
		}
	}
	for job, second := range first {
		if job == state.LaneRetry {
			n.Retry = time.Unix(int64(second), 0)
			n.RetryJobs = retryJobs(tx, endpoint)
			continue
		}
		Earliest(n.Jobs, tx.State.Job(job), second)
	}
	return n
}

// Earliest lowers the time of a job to due.
func Earliest(jobs map[string]time.Time, job string, due uint32) {
	jobs[job] = domain.Sooner(jobs[job], time.Unix(int64(due), 0))
}

// retryJobsScan bounds how many users in retry are read for their jobs: no more than one Take leases.
const retryJobsScan = 1000

// retryJobs returns, by job, the earliest receipt among the changes in retry, nil if the users are too many to read.
func retryJobs(tx *state.Tx, endpoint domain.Endpoint) map[string]time.Time {
	jobs := make(map[string]time.Time)
	n := 0
	for _, lane := range [...]uint32{state.LaneRetry, state.LaneRetryBulk} {
		for h := range state.Indexes(tx, endpoint, lane, retryJobsScan+1) {
			if n++; n > retryJobsScan {
				return nil
			}
			for _, l := range h.Endpoint(endpoint).Lanes {
				Earliest(jobs, tx.State.Job(l.Number), l.Due)
			}
		}
	}
	return jobs
}
