// Package apply carries a record of the inbox into the state: the diff of an event, its computation's identity, events
// that pass through, operators' orders and actions, erasure and pruning.
//
// [Record] is a pure function of the state and the record: it reads no clock, no configuration and no random number. The
// same records in batches of any size give the same state.
package apply
