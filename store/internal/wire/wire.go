package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

var (
	// ErrDamaged is about a frame whose checksum or shape is wrong.
	ErrDamaged = errors.New("damaged record: its checksum or shape is wrong")

	// ErrNewer is about a frame, or a file, of a version that this program does not know.
	ErrNewer = errors.New("the data was written by a newer version")
)

const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum continues the CRC32C sum over b.
func Checksum(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// Seal ends the frame that began at buf[start:].
func Seal(buf []byte, start int) []byte { return SealKeyed(buf, start, nil) }

// SealKeyed ends a frame whose checksum covers its key too. A row that turns up under another user's key
// is found to be damaged.
func SealKeyed(buf []byte, start int, key []byte) []byte {
	return binary.BigEndian.AppendUint32(buf, Checksum(Checksum(0, buf[start:]), key))
}

// Unseal checks a frame and returns a reader of its fields. Its first byte must be version.
func Unseal(frame []byte, version byte) (Reader, error) { return UnsealKeyed(frame, version, nil) }

// UnsealKeyed is Unseal for a frame that SealKeyed ended.
func UnsealKeyed(frame []byte, version byte, key []byte) (Reader, error) {
	if len(frame) < 1+sumSize {
		return Reader{}, ErrDamaged
	}
	body, sum := frame[:len(frame)-sumSize], binary.BigEndian.Uint32(frame[len(frame)-sumSize:])
	if Checksum(Checksum(0, body), key) != sum {
		return Reader{}, ErrDamaged
	}
	if body[0] != version {
		return Reader{}, ErrNewer
	}
	return Reader{b: body[1:]}, nil
}

// A Reader consumes the fields of a frame in order. Once a field is missing, it and every later one read
// as the zero value, so that a decoder checks once, with Done at the end.
type Reader struct {
	b   []byte
	bad bool
}

// NewReader reads fields that have no frame of their own.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Fail marks what was read as damaged: a value that no encoder writes.
func (r *Reader) Fail() { r.bad, r.b = true, nil }

// OK reports whether every field so far was there. A loop over a count that was read asks it each time,
// because a damaged count may be huge.
func (r *Reader) OK() bool { return !r.bad }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Rest returns the bytes that are left, which share memory with the frame.
func (r *Reader) Rest() []byte { return r.b }

// Done returns ErrDamaged if a field was missing, or bytes are left that nobody read.
func (r *Reader) Done() error {
	if r.bad || len(r.b) != 0 {
		return ErrDamaged
	}
	return nil
}

// Uint reads what AppendUint wrote.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Int reads what AppendInt wrote.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.Fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Uint32 reads four bytes, big-endian.
func (r *Reader) Uint32() uint32 {
	if len(r.b) < 4 {
		r.Fail()
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// Uint64 reads eight bytes, big-endian.
func (r *Reader) Uint64() uint64 {
	if len(r.b) < 8 {
		r.Fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// Bytes reads what AppendBytes wrote. The field shares memory with the frame.
func (r *Reader) Bytes() []byte {
	n := r.Uint()
	if n > uint64(len(r.b)) {
		r.Fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Text reads what AppendString wrote, as a copy.
func (r *Reader) Text() string { return string(r.Bytes()) }

// Time reads what AppendTime wrote, in UTC.
func (r *Reader) Time() time.Time {
	ns := r.Int()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// AppendUint writes a varint.
func AppendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendInt writes a zigzag varint.
func AppendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// AppendBytes writes v behind its length.
func AppendBytes(b, v []byte) []byte { return append(AppendUint(b, uint64(len(v))), v...) }

// AppendString writes v behind its length.
func AppendString(b []byte, v string) []byte { return append(AppendUint(b, uint64(len(v))), v...) }

// AppendTime writes t as nanoseconds since 1970; the zero time is 0.
func AppendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return AppendInt(b, 0)
	}
	return AppendInt(b, t.UnixNano())
}
