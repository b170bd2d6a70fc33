// Package record encodes and decodes the records of the inbox: an event, new rules, or an operator's order, action or
// repair. A record is all that apply may look at beside the state, so what an order decides is worked out before it is
// appended, and stands in its record.
//
// The first byte of a frame is its kind and version at once. A version is read for ever.
package record
