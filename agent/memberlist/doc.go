// Package memberlist reads the list of an audience's members that an operator hands over: one id a line, or
// CSV as Segment, a warehouse or a spreadsheet writes it.
//
// A wrong guess here makes people leave an audience. So a file that can be read in two ways, or that shows a
// trace of damage, is refused whole with the line and the reason; only a line without an id is left out, and
// the caller is told of each.
package memberlist
