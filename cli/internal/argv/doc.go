// Package argv reads command lines: it puts the words of a command line into the order that urfave/cli wants, names
// mistakes with a suggestion, and lists what may complete a word.
//
// It works on any tree of commands and runs none of them.
package argv
