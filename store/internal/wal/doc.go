// Package wal is the inbox: a log of numbered records in a chain of bbolt files.
//
//	Append ─▶ group commit ─▶ segment (inbox-N.db): records: number -> chunk of frames
//
// A [Log] writes. When Append returns nil, its records survive kill -9 and power loss. Senders that come
// while a commit is under way share the next one, so that an fsync serves many. A full [Segment] gives way
// to the next, and Trim removes the oldest by unlink once its records are applied.
//
// Numbers only grow, and each belongs to one record. A commit is flushed once, its pages and its meta page
// together. If the machine goes down meanwhile, [RollBackUnfinished] finds at the next start whether all of
// it arrived, and else goes back to the commit before. A commit whose flush failed is rolled back before the
// next one, because the kernel may have forgotten its pages.
//
// The package knows frames and checksums, and no records. What it must know of them, the owner says with
// [Records]. What it must ask before it acts, the owner answers with [Hooks].
//
// Locks: senders is held to queue a request, turn by whoever commits, mu for the list of segments and their
// bounds. turn comes before mu.
package wal
