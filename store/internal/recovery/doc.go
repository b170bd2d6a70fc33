// Package recovery makes the files of a store sound before a start trusts them.
//
// A start after an unclean stop reads the files first, in a child process, because a damaged page can kill the reader
// beyond the reach of recover. A damaged file is salvaged: it is kept aside, and a new one is made from the entries that can
// be read page by page. So the same damage never ends two starts.
//
//	inbox first   a record that is lost gets a stand-in, so that it is counted when it is applied
//	state next    the inbox may still have the records that it lost: it continues at the position it can prove
//
// A position that is too low is harmless. Records are applied again, and those that are not newer than the memberships
// change nothing. Only the totals of events count them twice, and the rebuild corrects these.
//
// After a clean stop nothing is read: see datadir.ShutdownMarker.
package recovery
