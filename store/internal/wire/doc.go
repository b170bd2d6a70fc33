// Package wire reads and writes frames: the form in which every value lies on disk.
//
//	version 1 | fields | CRC32C of all before it, and of the key where the frame has one: 4, big-endian
//
// bbolt has no checksums of its own: a byte that changes inside a value passes its check. A frame that
// does not add up is therefore the only notice of a damaged disk. What [Seal] or [SealKeyed] ended,
// [Unseal] or [UnsealKeyed] returns unchanged or not at all.
//
// A [Reader] takes any bytes without a panic, and allocates no more than the bytes that it was given.
// Which fields a frame has is known where it is written; FORMAT.md lists them all.
package wire
