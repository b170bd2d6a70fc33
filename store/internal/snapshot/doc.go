// Package snapshot backs a store up, as a tar file with a checksum of every part, and reads a backup back.
//
// A file gets its name only once it is whole and on disk, and nothing that is no backup is replaced by one.
package snapshot
