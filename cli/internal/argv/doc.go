// Package argv reads command lines: it puts the words of a command line into the order that urfave/cli wants, reports
// mistakes with a suggestion, and lists the candidates for completing a word.
//
// It works on any tree of commands and runs none of them.
package argv
