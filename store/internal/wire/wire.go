package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

var (
	// ErrDamaged means that the checksum or the fields of a frame are wrong.
	ErrDamaged = errors.New("damaged record: its checksum or shape is wrong")

	// ErrNewer means that a frame or a file has a version that this program does not know.
	ErrNewer = errors.New("the data was written by a newer version")
)

const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum continues the CRC32C sum with b.
func Checksum(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// Seal appends the checksum to the frame that begins at buf[start:].
func Seal(buf []byte, start int) []byte { return SealKeyed(buf, start, nil) }

// SealKeyed is Seal with a checksum that covers the key too. So a row found under another user's key is
// reported as damaged.
func SealKeyed(buf []byte, start int, key []byte) []byte {
	return binary.BigEndian.AppendUint32(buf, Checksum(Checksum(0, buf[start:]), key))
}

// Unseal verifies a frame and returns a reader of its fields. It returns ErrDamaged if the frame is corrupt,
// and ErrNewer if its first byte is not version.
func Unseal(frame []byte, version byte) (Reader, error) { return UnsealKeyed(frame, version, nil) }

// UnsealKeyed is Unseal for a frame written by SealKeyed.
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

// A Reader reads the fields of a frame in order. After a missing field every read returns the zero value, so a
// decoder needs one check: Done, at the end.
type Reader struct {
	b   []byte
	bad bool

	share int    // how many bytes the first text copies for those behind it; 0: none
	text  string // that copy
	left  int    // unread bytes where text ends
}

// NewReader returns a reader of fields that have no frame.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Fail marks the frame as damaged. Decoders call it for a value that no encoder writes.
func (r *Reader) Fail() { r.bad, r.b = true, nil }

// OK reports whether every field so far was present. Loops over a decoded count must check it each time,
// because a damaged count may be huge.
func (r *Reader) OK() bool { return !r.bad }

// Len returns the number of unread bytes.
func (r *Reader) Len() int { return len(r.b) }

// Rest returns the unread bytes. They share memory with the frame.
func (r *Reader) Rest() []byte { return r.b }

// Done returns ErrDamaged if a field was missing or bytes are left unread.
func (r *Reader) Done() error {
	if r.bad || len(r.b) != 0 {
		return ErrDamaged
	}
	return nil
}

// Uint reads a value written by AppendUint.
func (r *Reader) Uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // nearly every length and count
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Int reads a value written by AppendInt.
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

// Bytes reads a value written by AppendBytes. It shares memory with the frame.
func (r *Reader) Bytes() []byte {
	return r.Take(r.Uint())
}

// Take reads n bytes, without copying them.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.Fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// ShareTexts has the texts of the next most bytes, from the first of them on, be parts of one copy, in place of a copy for
// each. None of that memory is free again until all of these texts are.
func (r *Reader) ShareTexts(most int) { r.share = most }

// Text reads a value written by AppendString and copies it.
func (r *Reader) Text() string {
	n, from := r.Uint(), r.b
	v := r.Take(n)
	if len(v) == 0 {
		return ""
	}
	if r.share > 0 {
		most := min(r.share, len(from))
		r.text, r.left, r.share = string(from[:most]), len(from)-most, 0
	}
	if end := len(r.text) + r.left - len(r.b); end >= len(v) && end <= len(r.text) {
		return r.text[end-len(v) : end]
	}
	return string(v)
}

// Texts reads a value written by AppendTexts, nil for an empty list.
func (r *Reader) Texts() (list []string) {
	n := r.Uint()
	if n > uint64(len(r.b)) { // each takes a byte at least
		r.Fail()
	}
	if n > 0 && r.OK() {
		list = make([]string, 0, min(n, 16))
	}
	for ; n > 0 && r.OK(); n-- {
		list = append(list, r.Text())
	}
	return list
}

// Time reads a value written by AppendTime, in UTC.
func (r *Reader) Time() time.Time {
	ns := r.Int()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// AppendUint appends v as a varint.
func AppendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendInt appends v as a zigzag varint.
func AppendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// AppendBytes appends the length of v and v.
func AppendBytes(b, v []byte) []byte { return append(AppendUint(b, uint64(len(v))), v...) }

// AppendString appends the length of v and v.
func AppendString(b []byte, v string) []byte { return append(AppendUint(b, uint64(len(v))), v...) }

// AppendTexts appends the number of texts and each text.
func AppendTexts(b []byte, list []string) []byte {
	b = AppendUint(b, uint64(len(list)))
	for _, v := range list {
		b = AppendString(b, v)
	}
	return b
}

// AppendTime appends t as nanoseconds since 1970, and the zero time as 0.
func AppendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return AppendInt(b, 0)
	}
	return AppendInt(b, t.UnixNano())
}
