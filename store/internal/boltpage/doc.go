// Package boltpage reads the pages of a bbolt file without bbolt.
//
// bbolt trusts its pages: it maps the file and follows its pointers, so that one wrong byte can kill the
// process, past every recover. This package reads each page, checks every number against its bounds, and
// returns an unreadable sector as an error like any other. Any bytes are safe to read.
//
// A [File] has two [Meta] pages and the tree that each leads to. A [Walk] visits a tree and reports what
// bbolt would stumble over. [Page.Elements] insists on the layout that bbolt writes, [Page.Remains] takes
// what it can. [RollBack] is the only function that writes.
//
//	page     id 8 | flags 2 | count 2 | overflow 4 | elements | keys and values
//	branch   offset 4 | key length 4 | page 8
//	leaf     flags 4 | offset 4 | key length 4 | value length 4
//	meta     magic 4 | version 4 | page size 4 | flags 4 | root 8 | sequence 8 | freelist 8 | pages 8 | transaction 8 | FNV-1a 8
//	bucket   root 8 | sequence 8, and a whole page behind them when root is 0
//
// Numbers are in the byte order of the machine. bbolt lays the keys and values of a page end to end, right
// behind the elements. So offsets, lengths and count say everything twice, and a wrong one shows.
package boltpage
