// Package metrics is what Prometheus reads of an agent.
//
// [Table] lists every metric with its labels and its meaning. docs/metrics.md is made of it. [Metrics] counts requests in
// memory, and [Metrics.Read] adds the values that each scrape reads from a [Source]. Counters that must survive a restart
// are the store's.
//
// Invariants: no label holds a user id. At most 200 computations have metrics of their own.
package metrics
