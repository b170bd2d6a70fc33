// Package orders carries out what an operator orders on a running store: retry, drop and read again parked changes;
// import, reconcile, close, adopt and remove computations; release and discard what the mass-exit guard holds.
//
// An order travels through the inbox like an event. It is on disk before it has any effect, it is applied in the order
// of the records, and a crash repeats or loses nothing of it. An order on many users is many records: the job appends
// some, waits until they are applied, and goes on, so that events are not kept waiting.
//
// A caller that stops waiting, a full disk or a stop cut an order short. Its error says how much of it is on disk, and
// so whether it takes effect by itself or is to be given again. Giving it again does nothing twice.
package orders
