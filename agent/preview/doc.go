// Package preview shows what a delivery would come to, before it is live.
//
// [Run] has the handler of package ingest read the delivery, applies its events to a trial of the store, and builds the
// requests as package sync does. So it has no rules of its own: it shows the effect of the delivery when it
// arrives. [AsIf] does so without data, for users who are members, have left, or were never seen.
//
// Invariants: nothing is written, and nothing is sent. Secrets are masked. The credentials of a delivery are not
// checked; it is read as one that Segment signed.
package preview
