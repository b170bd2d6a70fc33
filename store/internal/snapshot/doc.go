// Package snapshot copies a store: a backup as a tar file with a checksum of every part, its reading back, the parts in
// which a compaction copies, and the migration of older files.
//
// A file gets its name only once it is whole and on disk, and nothing that is no backup is replaced by one.
package snapshot
