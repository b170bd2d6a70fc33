// Package segment parses Segment's webhook bodies and Tracking API envelopes, and the events in both. It is
// pure: it opens no file, reads no clock and logs nothing. So the same bytes and the same [Reading] give the
// same event now and when a parked event is retried a month later. All functions are safe for concurrent use.
//
//   - [Split] cuts a webhook body into events. [ParseBatch] and [WriteKey] parse a Tracking API body.
//   - [Read] turns the bytes of one event into a [domain.Event].
//
// It makes two promises. First, an event keeps its original bytes: signatures, digits of numbers and the order
// of members survive, because nothing is decoded and encoded again. Second, Read never fails: an unusable event
// has a Fault with the reason, so one bad item never affects others.
//
// Outside facts come from two sources. Segment documents its events and its Tracking API (segment.com/docs:
// spec/common, engage/using-engage-data, connections/sources/catalog/libraries/server/http-api). Undocumented
// facts were read in its published destination and SDK code; the comment on such a rule says so.
//
// Text that is not valid UTF-8 is read with U+FFFD in place of the invalid bytes, so that people can see the
// event. The event is faulted, so that it changes nothing.
package segment
