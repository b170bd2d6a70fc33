// Package bundle collects what a person who helps from afar needs to know of an agent and its host, without a user id and
// without a secret.
//
// A [Part] is one file of the archive. All parts are collected at once, each by itself, until a limit: one that does not come
// in time, as from an agent that hangs, is named in about.json with the reason. Text from outside, as from MoEngage or
// from an event, is left out, and not searched for ids: a list of what may stay cannot forget a form that an id may have.
package bundle
