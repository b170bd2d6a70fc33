// Package datadir knows the data directory as a folder: the names in it, who holds its lock, whether its files are
// still found under their names, how much disk is left for events, and whether the last process that used it was
// stopped or killed.
//
// It knows nothing of what the files hold. One process at a time holds the lock of a directory.
package datadir
