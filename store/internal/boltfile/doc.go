// Package boltfile opens, creates, locks and syncs the bbolt files of a store.
//
// Every file has the bucket meta with its format, its epoch and a seal: the checksum of what has none of
// its own. A file is created under another name and renamed when it is whole and on disk, so that a crash
// leaves all of it or nothing. Options are made in one place, and fsync cannot be turned off there.
//
// bbolt panics, or faults on its memory map, when a page is not what it should be. Who reads a file that
// may be damaged does so within [Guard], which returns that as an error.
//
// The errors of this package name the file and what to do. [ErrForeign], [ErrInUse], [wire.ErrNewer] and
// [wire.ErrDamaged] tell them apart: only the last one calls for salvage.
package boltfile
