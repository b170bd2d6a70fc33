// Package ratelimit keeps requests within MoEngage's limits a minute, for users, events and requests.
//
// The invariant is that no window of sixty seconds has more than the limit, at whatever moment between a
// request's beginning and its answer MoEngage counts it. A [Meter] therefore holds an amount from its
// reservation until a minute after the answer. All times come from the caller.
package ratelimit
