// Package boltfile opens, creates, locks and syncs the bbolt files of a store.
//
// Every file has a bucket meta with its format, its epoch and a seal. The seal is the checksum of the buckets
// that have no checksums of their own. A new file is written under a temporary name and renamed once it is
// complete and on disk, so a crash leaves all of it or nothing. All files are opened with the same options, and
// nothing there can turn fsync off.
//
// bbolt panics, or faults on its memory map, when a page is corrupt. Read a file that may be damaged within
// [Guard], which returns both as an error.
//
// Errors name the file and say what to do. [ErrForeign], [ErrInUse], [wire.ErrNewer] and [wire.ErrDamaged] tell
// them apart. Only the last calls for salvage.
package boltfile
