// Package apply carries a record of the inbox into the state: the diff of an event, the identity of its computation,
// events that pass through, operators' orders and actions, erasure and pruning.
//
// [Record] is a pure function of the state and the record: it reads no clock, no configuration and no random number,
// and the receipt of the record is its only "now". The same records in transactions of any size give the same state.
// So a crash between two commits repeats work and not its effect.
package apply
