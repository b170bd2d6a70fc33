// Package notify tells people of conditions: one message when a condition begins, and one when it ends.
//
// A [Notifier] looks at the agent's conditions every few seconds, and gives them to its tellers. There is one
// teller for each receiver: a URL that is posted to, and a command that gets the message on stdin. A [Message] says what
// happened, what that costs, and what to type. It holds no user id.
//
// Each teller compares the conditions with what its receiver was told last, which the store keeps. A difference is told
// once it has lasted for [Config.After]. So a condition that flaps is told at most once a change, and a message that waits
// for a receiver to come back is the newest state alone. The store knows of a difference before it is told, and of the
// message after the receiver took it. A process that is killed between the two repeats that one message, with the same
// id. Nothing is forgotten, and nothing else is repeated.
//
// A teller has a goroutine of its own, so that a receiver that hangs delays neither the other receiver nor the agent.
//
// The heartbeat is the opposite of a message: a request that is made only while all is well. A monitor that expects it notices when it
// stays away, also when the whole machine is gone.
package notify
