// Package segment reads what Segment sends: webhook bodies, Tracking API envelopes, and the events in
// both. It is pure. It opens nothing, asks no clock and logs nothing, so the same bytes and the same
// [Reading] give the same event today and when a parked event is retried a month later.
//
//   - [Split] cuts a webhook body into events, [ParseBatch] and [WriteKey] take a Tracking API body apart.
//   - [Read] turns one event's bytes into a [store.Event].
//
// Two promises hold throughout. The bytes of an event are kept as they came: signatures, digits of
// numbers and the order of members survive, because nothing is decoded and encoded again. And Read
// never fails: what cannot be used is an event whose Fault says why, so that one bad item never takes
// others with it.
//
// The outside facts are of two sources. Segment documents its events and its Tracking API
// (segment.com/docs: spec/common, engage/using-engage-data, connections/sources/catalog/libraries/server/http-api);
// what it does not document was read from its published destination and SDK code. Where a rule here
// rests on the second kind, the comment says so.
//
// Caveat: text that is not valid UTF-8 is still read, with U+FFFD in place of what is broken, so that
// people see something; the event is faulted, so that nobody acts on it.
package segment
