package syncer

// Keys of log attributes. There is none for user ids: they are never logged.
const (
	keyError  = "error"
	keyCode   = "code"
	keyStatus = "status"
	keyUsers  = "users"
	keyEvents = "events"
	keyBytes  = "bytes"
	keyTook   = "took"
	keyTrace  = "trace"
	keyCount  = "count"
	keySince  = "since"
	keyProbe  = "next_probe"
	keyLease  = "lease"
	keyName   = "name"
)
