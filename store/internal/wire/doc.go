// Package wire encodes and decodes frames. Every value on disk is a frame.
//
//	version 1 | fields | CRC32C of all before it, and of the key where the frame has one: 4, big-endian
//
// bbolt has no checksums: a byte that changes inside a value passes its check. So the checksum of the frame is
// the only sign of a damaged disk. [Unseal] or [UnsealKeyed] returns what [Seal] or [SealKeyed] wrote
// unchanged, or an error.
//
// A [Reader] does not panic on any bytes and allocates no more than it was given. The fields of each frame are
// defined where it is written; FORMAT.md lists them all.
package wire
