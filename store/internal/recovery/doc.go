// Package recovery is what a start does before it trusts the files of a store.
//
// A start after an unclean stop reads the files first, in a child process, because a damaged page can kill the reader
// past every recover. What is damaged is salvaged: the file is kept aside, and made again from what can be read of it
// page by page. So the same damage never ends two starts: the file that did it is no longer in its place.
//
//	inbox first   a record that is lost gets a stand-in, so that it is counted when it is applied
//	state next    what it lost, the inbox may still have: it goes on at the position it can prove
//
// A position that is too low is harmless. Records are applied again, and what is not newer than the memberships changes
// nothing; only the totals of events count them twice, and are settled.
//
// After a clean stop nothing is read: see datadir.ShutdownMarker.
package recovery
