package domain

import (
	"encoding/hex"
	"strings"
)

// Trace is the trace that a delivery is part of, by its traceparent header (W3C Trace Context). All events of a delivery
// share one. It is never changed.
type Trace struct {
	ID      [16]byte // never zero
	Sampled bool
}

// String returns the trace id as tracing tools show it.
func (t *Trace) String() string { return hex.EncodeToString(t.ID[:]) }

// Parent returns the traceparent header of a request that is made for t by a span of this id, which is not zero.
func (t *Trace) Parent(span [8]byte) string {
	flags := "-00"
	if t.Sampled {
		flags = "-01"
	}
	return "00-" + t.String() + "-" + hex.EncodeToString(span[:]) + flags
}

// The form of a traceparent header: version, trace id, id of the caller's span and flags, in lower-case hexadecimal. A
// later version may continue with a dash and more.
const (
	traceparent        = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	traceSampled  byte = 1
	traceReserved      = "ff" // a version that is not allowed
)

// ParseTrace reads a traceparent header. It returns nil for one that is not valid, which is to be ignored.
func ParseTrace(header string) *Trace {
	if len(header) < traceparent || len(header) > traceparent && (header[:2] == "00" || header[traceparent] != '-') {
		return nil
	}
	part := strings.Split(header[:traceparent], "-")
	if len(part) != 4 || part[0] == traceReserved {
		return nil
	}
	var version, flags [1]byte
	var span [8]byte
	t := new(Trace)
	if !readHex(version[:], part[0]) || !readHex(t.ID[:], part[1]) || !readHex(span[:], part[2]) || !readHex(flags[:], part[3]) ||
		t.ID == [16]byte{} || span == [8]byte{} {
		return nil
	}
	t.Sampled = flags[0]&traceSampled != 0
	return t
}

// readHex fills to with lower-case hexadecimal digits, and reports whether they do.
func readHex(to []byte, digits string) bool {
	if len(digits) != hex.EncodedLen(len(to)) || strings.ToLower(digits) != digits {
		return false
	}
	_, err := hex.Decode(to, []byte(digits))
	return err == nil
}
