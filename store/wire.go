package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// Every value on disk is a frame: one version byte, the fields, and a CRC32C of all before it.
// bbolt has no checksums of its own (one byte changed inside a value passes its check), so a frame
// that does not add up is the only notice of a damaged disk. FORMAT.md lists the frames.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged record: its checksum or shape is wrong")

// seal ends the frame that began at buf[start:].
func seal(buf []byte, start int) []byte {
	return binary.BigEndian.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli))
}

// sealKeyed ends a frame whose checksum covers its key too: a row must not turn up under another user.
func sealKeyed(buf []byte, start int, key []byte) []byte {
	return binary.BigEndian.AppendUint32(buf, crc32.Update(crc32.Checksum(buf[start:], castagnoli), castagnoli, key))
}

// unseal checks a frame and returns a reader behind its version byte, which must be version.
func unseal(frame []byte, version byte) (reader, error) { return unsealKeyed(frame, version, nil) }

// unsealKeyed is unseal for what sealKeyed ended.
func unsealKeyed(frame []byte, version byte, key []byte) (reader, error) {
	if len(frame) < 5 {
		return reader{}, errDamaged
	}
	body, sum := frame[:len(frame)-4], binary.BigEndian.Uint32(frame[len(frame)-4:])
	if crc32.Update(crc32.Checksum(body, castagnoli), castagnoli, key) != sum {
		return reader{}, errDamaged
	}
	if body[0] != version {
		return reader{}, ErrNewer
	}
	return reader{b: body[1:]}, nil
}

// reader consumes a frame's fields. A field that is not there makes it bad, and every later field
// the zero value, so that decoders check once, at the end.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// bytes returns a field that shares memory with the frame.
func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) time() time.Time {
	ns := r.int()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func (r *reader) id(epoch epochs) ID {
	seq, slot := r.uint(), r.uint()
	if seq == 0 {
		return ID{}
	}
	return ID{Epoch: epoch.of(seq), Seq: seq, Slot: uint16(slot)}
}

// done reports damage: fields that were missing, or bytes nobody read.
func (r *reader) done() error {
	if r.bad || len(r.b) != 0 {
		return errDamaged
	}
	return nil
}

func putUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }
func putInt(b []byte, v int64) []byte   { return binary.AppendVarint(b, v) }

func putBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func putString(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// putTime keeps nanoseconds since 1970; the zero time is 0.
func putTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return putInt(b, 0)
	}
	return putInt(b, t.UnixNano())
}

func putID(b []byte, id ID) []byte {
	return putUint(putUint(b, id.Seq), uint64(id.Slot))
}
