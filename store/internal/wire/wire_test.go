package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const version = 3

// fields has one value of each kind.
type fields struct {
	u    uint64
	i    int64
	c    byte
	four uint32
	long uint64
	b    []byte
	s    string
	t    time.Time
}

func (f *fields) frame(key []byte) []byte {
	b := wire.AppendInt(wire.AppendUint([]byte{version}, f.u), f.i)
	b = append(b, f.c, byte(f.four>>24), byte(f.four>>16), byte(f.four>>8), byte(f.four))
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(f.long>>shift))
	}
	b = wire.AppendTime(wire.AppendString(wire.AppendBytes(b, f.b), f.s), f.t)
	return wire.SealKeyed(b, 0, key)
}

func read(r *wire.Reader) (f fields) {
	f.u, f.i, f.c, f.four, f.long = r.Uint(), r.Int(), r.Byte(), r.Uint32(), r.Uint64()
	f.b, f.s, f.t = r.Bytes(), r.Text(), r.Time()
	return f
}

var samples = []fields{
	{b: []byte{}},
	{u: 1, i: -1, c: 2, four: 3, long: 4, b: []byte("a"), s: "b", t: time.Unix(0, 1).UTC()},
	{u: math.MaxUint64, i: math.MinInt64, c: 255, four: math.MaxUint32, long: math.MaxUint64, b: bytes.Repeat([]byte{0}, 300), s: "\xff\x00é", t: time.Unix(0, math.MaxInt64).UTC()},
	{u: math.MaxUint64, i: math.MaxInt64, c: 0, four: 0, long: 0, b: []byte{}, s: "", t: time.Date(1677, 9, 22, 0, 0, 0, 0, time.UTC)},
}

func TestFieldsAreReadAsTheyWereWritten(t *testing.T) {
	for _, want := range samples {
		r, err := wire.UnsealKeyed(want.frame([]byte("k")), version, []byte("k"))
		if err != nil {
			t.Fatal(err)
		}
		got := read(&r)
		if err := r.Done(); err != nil {
			t.Errorf("%+v: %v", want, err)
		}
		if !bytes.Equal(got.b, want.b) {
			t.Errorf("bytes %x, want %x", got.b, want.b)
		}
		if got.u != want.u || got.i != want.i || got.c != want.c || got.four != want.four || got.long != want.long || got.s != want.s || got.t != want.t {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// TestSharedTexts reads texts with other fields between them, with any part of them in the shared copy, and writes over the
// frame afterwards: a text keeps its content.
func TestSharedTexts(t *testing.T) {
	want := []string{"", "ann", "", "high_value_shoppers", "é", "", "x"}
	var b []byte
	for i, s := range want {
		b = wire.AppendUint(wire.AppendString(b, s), uint64(i)<<9)
	}
	for most := range len(b) + 9 {
		frame, got := bytes.Clone(b), []string(nil)
		r := wire.NewReader(frame)
		r.ShareTexts(most)
		for i := range want {
			got = append(got, r.Text())
			if n := r.Uint(); n != uint64(i)<<9 {
				t.Fatalf("of %d bytes: the number behind text %d is %d", most, i, n)
			}
		}
		if r.Text() != "" || r.Done() == nil {
			t.Fatalf("of %d bytes: a text was read behind the end", most)
		}
		clear(frame)
		if !slices.Equal(got, want) {
			t.Fatalf("of %d bytes: got %q, want %q", most, got, want)
		}
	}
}

// TestFrameOnDisk compares with bytes worked out by hand from FORMAT.md. e3069283 is the published check value
// of CRC32C over "123456789".
func TestFrameOnDisk(t *testing.T) {
	if got := hex.EncodeToString(wire.Seal([]byte("123456789"), 0)); got != "313233343536373839"+"e3069283" {
		t.Errorf("sealed: %s", got)
	}
	if got := hex.EncodeToString(wire.SealKeyed([]byte("before12345"), len("before"), []byte("6789"))); got != hex.EncodeToString([]byte("before12345"))+"e3069283" {
		t.Errorf("sealed under its key, behind other bytes: %s", got)
	}
	b := wire.AppendString(wire.AppendInt(wire.AppendUint(nil, 300), -2), "ab")
	b = wire.AppendTime(wire.AppendTime(wire.AppendBytes(b, nil), time.Unix(0, 64)), time.Time{})
	if got, want := hex.EncodeToString(b), "ac02"+"03"+"026162"+"00"+"8001"+"00"; got != want {
		t.Errorf("fields: %s, want %s", got, want)
	}
}

func TestOneChangedBitIsNoticed(t *testing.T) {
	frame, key := samples[2].frame([]byte("ann")), []byte("ann")
	for i := range len(frame) * 8 {
		broken := bytes.Clone(frame)
		broken[i/8] ^= 1 << (i % 8)
		if _, err := wire.UnsealKeyed(broken, version, key); !errors.Is(err, wire.ErrDamaged) {
			t.Fatalf("bit %d changed: %v", i, err)
		}
	}
}

func TestAFrameUnderAnotherKeyIsDamaged(t *testing.T) {
	frame := samples[1].frame([]byte("ann"))
	for _, key := range []string{"", "an", "anna", "bob"} {
		if _, err := wire.UnsealKeyed(frame, version, []byte(key)); !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("read under %q: %v", key, err)
		}
	}
}

// A frame of another version is intact. It must not be reported as damaged, because salvage would drop it.
func TestAnotherVersionIsNotDamage(t *testing.T) {
	for _, other := range []byte{0, version - 1, version + 1, 255} {
		_, err := wire.Unseal(samples[1].frame(nil), other)
		if !errors.Is(err, wire.ErrNewer) || errors.Is(err, wire.ErrDamaged) {
			t.Errorf("version %d: %v", other, err)
		}
	}
}

func TestAFrameCutShortIsDamaged(t *testing.T) {
	frame := samples[1].frame(nil)
	for n := range frame {
		if _, err := wire.Unseal(frame[:n], version); !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("%d of %d bytes: %v", n, len(frame), err)
		}
	}
}

// Fields that end early under a correct checksum mean a faulty encoder or a collision.
func TestMissingFieldsAreDamage(t *testing.T) {
	frame := samples[1].frame(nil)
	body := frame[:len(frame)-4]
	for n := 1; n < len(body); n++ {
		r, err := wire.Unseal(wire.Seal(bytes.Clone(body[:n]), 0), version)
		if err != nil {
			t.Fatal(err)
		}
		got := read(&r)
		if r.OK() || !errors.Is(r.Done(), wire.ErrDamaged) {
			t.Errorf("%d of %d bytes of fields: %v", n-1, len(body)-1, r.Done())
		}
		if !got.t.IsZero() {
			t.Errorf("%d of %d bytes of fields: a later field has a value: %v", n-1, len(body)-1, got.t)
		}
	}
}

func TestBytesThatNobodyReadAreDamage(t *testing.T) {
	r := wire.NewReader([]byte{1, 2})
	r.Byte()
	if err := r.Done(); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("one byte left: %v", err)
	}
	if r.Len() != 1 || !bytes.Equal(r.Rest(), []byte{2}) {
		t.Errorf("left: %d bytes, %x", r.Len(), r.Rest())
	}
	r.Byte()
	if err := r.Done(); err != nil {
		t.Errorf("no byte left: %v", err)
	}
}

func TestFailIsDamageAndStopsTheReader(t *testing.T) {
	r := wire.NewReader([]byte{7, 7})
	r.Fail()
	if r.OK() || r.Byte() != 0 || r.Len() != 0 || !errors.Is(r.Done(), wire.ErrDamaged) {
		t.Error("a failed reader still reads")
	}
}

// Appending to a field must not overwrite the frame behind it, because rows are read in place.
func TestBytesCannotGrowIntoTheFrame(t *testing.T) {
	b := wire.AppendBytes(wire.AppendBytes(nil, []byte("one")), []byte("two"))
	r := wire.NewReader(b)
	_ = append(r.Bytes(), "XXXX"...)
	if second := r.Text(); second != "two" {
		t.Errorf("the second field became %q", second)
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	frame := samples[1].frame(nil)
	n := testing.AllocsPerRun(100, func() {
		r, err := wire.Unseal(frame, version)
		r.Uint()
		r.Int()
		r.Byte()
		r.Uint32()
		r.Uint64()
		if r.Bytes(); err != nil || !r.OK() {
			t.Error("unreadable")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzReader gives the reader arbitrary bytes. It must neither panic nor return more than it was given.
func FuzzReader(f *testing.F) {
	for _, s := range samples {
		f.Add(s.frame(nil))
	}
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewReader(b)
		got := read(&r)
		if len(got.b)+len(got.s) > len(b) {
			t.Errorf("%d bytes of fields from %d bytes", len(got.b)+len(got.s), len(b))
		}
		if r.OK() && r.Len() > len(b) || !r.OK() && (r.Done() == nil || r.Len() != 0) {
			t.Errorf("OK %v, %d of %d bytes left, %v", r.OK(), r.Len(), len(b), r.Done())
		}
	})
}

// TestListsOfTexts: of no text, of one, of many. A count that the frame has no bytes for is damage.
func TestListsOfTexts(t *testing.T) {
	for _, list := range [][]string{nil, {"a"}, {"", "b"}, strings.Split("a b c d e f g h i j k l m n o p q r", " ")} {
		r := wire.NewReader(wire.AppendTexts(nil, list))
		if got := r.Texts(); !slices.Equal(got, list) || (got == nil) != (list == nil) || r.Done() != nil {
			t.Errorf("%q is read as %q, %v", list, got, r.Done())
		}
	}
	r := wire.NewReader(wire.AppendUint(nil, 1<<60))
	if got := r.Texts(); len(got) > 0 || r.Done() == nil {
		t.Errorf("a count alone is read as %q", got)
	}
}

// TestNumbersOfAFixedLength are read up to the last byte, and as zero where bytes are missing.
func TestNumbersOfAFixedLength(t *testing.T) {
	bytes := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	for n := range len(bytes) + 1 {
		r := wire.NewReader(bytes[:n])
		if got := r.Uint64(); (got == 0x0102030405060708) != (n == 8) || (got == 0) != (n < 8) || r.OK() != (n == 8) {
			t.Errorf("%d bytes are read as %x", n, got)
		}
		r = wire.NewReader(bytes[:n])
		if got := r.Uint32(); (got == 0x01020304) != (n >= 4) || (got == 0) != (n < 4) || r.OK() != (n >= 4) {
			t.Errorf("%d bytes are read as %x", n, got)
		}
	}
}
