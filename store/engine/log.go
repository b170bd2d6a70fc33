package engine

import "context"

// Log is the inbox: numbered records, in the order in which they were committed. All methods may be called
// concurrently.
type Log interface {
	// Append returns nil once the records, encoded as frames, are durable, in order and without others between
	// them. After a DoubtError they may be durable all the same; after any other error they are not.
	Append(ctx context.Context, frames ...[]byte) error

	// AppendOther is Append for records that are not events. Others counts them until they are applied.
	AppendOther(ctx context.Context, frames ...[]byte) error
	Others() int64

	// Read copies records from a number on: about so many bytes of them, but at least one if there is one.
	Read(from uint64, maxBytes int) ([]Record, error)

	// Last returns the number of the newest record, 0 without any.
	Last() uint64
}

// Record is a frame with its number.
type Record struct {
	Seq   uint64
	Frame []byte
}

// DoubtError ends an append whose records may be durable, and take effect. It reads as its cause.
type DoubtError struct{ Cause error }

// Error implements error.
func (e *DoubtError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *DoubtError) Unwrap() error { return e.Cause }
