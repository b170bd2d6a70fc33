// Package record encodes and decodes the records of the inbox: an event, new rules, or an operator's order, action
// or repair. A record is all that apply may read beside the state. So everything that an order decides is worked out
// before it is appended, and is in its record.
//
// The first byte of a frame is its kind and version at once: a new shape takes a new number, and a version is read
// forever. FORMAT.md, in the package store, describes the bytes.
package record
