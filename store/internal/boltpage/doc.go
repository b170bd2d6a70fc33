// Package boltpage reads the pages of a bbolt file without bbolt.
//
// bbolt trusts its pages. It maps the file and follows its pointers, so one wrong byte can kill the process
// beyond the reach of recover. This package reads each page with a system call, checks every number against its
// bounds, and returns an unreadable sector as an ordinary error. It is safe on any bytes.
//
// A [File] has two [Meta] pages and the tree below each. A [Walk] visits a tree and reports everything that
// bbolt would fail on. [Page.Elements] requires the exact layout that bbolt writes; [Page.Remains] returns what
// is readable of any other. [RollBack] is the only function that writes.
//
//	page     id 8 | flags 2 | count 2 | overflow 4 | elements | keys and values
//	branch   offset 4 | key length 4 | page 8
//	leaf     flags 4 | offset 4 | key length 4 | value length 4
//	meta     magic 4 | version 4 | page size 4 | flags 4 | root 8 | sequence 8 | freelist 8 | pages 8 | transaction 8 | FNV-1a 8
//	bucket   root 8 | sequence 8, followed by a whole page when root is 0
//
// Numbers are in the byte order of the machine. bbolt lays keys and values end to end, directly behind the
// elements. So the offsets, the lengths and the count repeat each other, and a wrong one shows.
package boltpage
