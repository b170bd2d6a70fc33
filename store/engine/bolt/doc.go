// Package bolt is the engine on bbolt: state.db, one file that is mapped into memory. The inbox is in files of its
// own, see store/internal/wal.
//
// [State] adds to what the engine promises what only a file can: a [Copy] of it without its free pages while it is at
// work, a snapshot of the whole file, and the migration of older formats.
package bolt
