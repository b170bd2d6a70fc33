// Package wal is the inbox: a log of numbered records in a chain of bbolt files.
//
//	Append ─▶ committer ─▶ Segment (inbox-N.db): records: number -> chunk of frames
//
// A [Log] writes. When Append returns nil, its records survive kill -9 and power loss. Requests that come while a commit
// is under way share the next one (package groupcommit), so one fsync serves many. A full [Segment] gives way to the next,
// and Trim removes the oldest by unlink once its records are applied.
//
// Numbers only grow, and each belongs to one record. A commit is flushed once, its pages and its meta page together. If
// the machine goes down meanwhile, [RollBackUnfinished] finds at the next start whether all of it arrived, and otherwise
// goes back to the commit before. A commit whose flush failed is rolled back before the next one, because the kernel may
// have forgotten its pages. [Salvage] rebuilds a damaged segment from the chunks that can be read.
//
// The package knows frames and checksums, but no record. [Records] answers its questions, and it calls [Hooks] before it
// acts. No other package knows how a segment lies in its file.
//
// Locks, in the order in which they are taken: the commit lock (Hold of the committer), and Log.mu for the list of
// segments and their bounds.
package wal
