// Package condition says how an agent is, and what of that an operator should know.
//
// A [Status] is the agent on one screen, joined of what the store counts and what the process knows of itself, its
// [Process]. Both are among the [Facts] of one moment, and [Facts.Judge] lists each [Condition] that holds in them:
// its name, how severe it is, a sentence, and the commands to type. [Kinds] is the list of all there are.
//
// Judging is a pure function of its facts: it reads no clock, no file and no store. So the same facts make the same
// conditions in status, on the page, in the metrics and for the doctor, whether the agent runs or not.
package condition
