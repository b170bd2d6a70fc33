// Package memberlist reads a list of an audience's members from an operator's file: one id a line, or CSV as
// written by Segment, a warehouse or a spreadsheet.
//
// A wrong guess here removes users from an audience. So a file that can be read in two ways, or that shows a
// sign of damage, is refused as a whole with the line and the reason. Only a line without an id is skipped, and
// the caller is told of each.
package memberlist
