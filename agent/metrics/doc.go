// Package metrics is what Prometheus reads of an agent.
//
// [Table] lists every metric with its labels and what it means; docs/metrics.md is made of it. [Metrics] counts what only
// the process sees, and [Metrics.Read] adds what each scrape reads from a [Source]: counters that must survive a restart
// are the store's.
//
// Invariants: no label holds a user id. At most 200 computations have metrics of their own.
package metrics
