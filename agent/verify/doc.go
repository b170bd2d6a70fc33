// Package verify reads users back from MoEngage, and counts those for whom it holds the sent values.
//
// MoEngage's 200 means that a request is queued. Only reading back shows whether its values arrived. A [Verifier] takes
// users of one computation about whom something was sent, all of them or a random sample, reads their attributes back and
// counts who agrees. On order it queues again what differs. [Verifier.Jobs] does that every night with a sample of each
// computation.
//
// Invariants: a user with a change on the way, or with one that was sent a moment ago, proves nothing and counts as
// moving. A verification that compared nobody shows no agreement. One that fails is recorded as failed.
package verify
