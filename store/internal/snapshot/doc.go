// Package snapshot backs a store up, as a tar file with a checksum of every part, and reads a backup back.
//
// A file gets its name only once it is whole and on disk. A backup replaces no file that is not a backup.
package snapshot
