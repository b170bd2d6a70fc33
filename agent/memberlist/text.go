package memberlist

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// notText lists the beginnings of files that are not text, each with an instruction. Otherwise a line of one
// could become a member.
var notText = []struct{ start, what string }{
	{"\x1f\x8b", "a gzip file: unpack it with `gunzip` first"},
	{"\x28\xb5\x2f\xfd", "a zstd file: unpack it with `unzstd` first"},
	{"BZh", "a bzip2 file: unpack it with `bunzip2` first"},
	{"PK\x03\x04", "a ZIP archive or an Excel workbook: unpack it, or save it as CSV (UTF-8)"},
	{"\xd0\xcf\x11\xe0", "an Excel workbook: save it as CSV (UTF-8)"},
	{"PAR1", "a Parquet file: export the ids as CSV"},
	{"%PDF", "a PDF file: export the ids as CSV"},
	{"{", "JSON: write the ids one a line, for example with `jq -r .userId`"},
	{"[", "JSON: write the ids one a line, for example with `jq -r '.[].userId'`"},
	{"<?", "XML: export the ids as CSV"},
	{"<!", "a web page: was the download an error page?"},
	{"<html", "a web page: was the download an error page?"},
}

// listText reads a file as UTF-8 with \n line ends. It removes a byte order mark, decodes UTF-16 that has one,
// and replaces the line ends of Windows and old Macs.
func listText(in io.Reader) (*bufio.Reader, error) {
	text := bufio.NewReaderSize(in, 256<<10)
	start, _ := text.Peek(4 << 10)
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(start, []byte("\xef\xbb\xbf")):
		text.Discard(3)
	case bytes.HasPrefix(start, []byte("\xff\xfe")) && !bytes.HasPrefix(start, []byte("\xff\xfe\x00\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(start, []byte("\xfe\xff")):
		order = binary.BigEndian
	}
	if order != nil {
		text.Discard(2)
		text = bufio.NewReaderSize(&utf16Reader{in: text, order: order}, 256<<10)
	}
	start, _ = text.Peek(4 << 10)
	start = bytes.TrimLeft(start, " \t\r\n")
	for _, n := range notText {
		if len(start) >= len(n.start) && bytes.EqualFold(start[:len(n.start)], []byte(n.start)) {
			return nil, errors.New("this is " + n.what)
		}
	}
	return bufio.NewReaderSize(&lineEnds{in: text}, 256<<10), nil
}

// utf16Reader decodes UTF-16 to UTF-8. An unpaired surrogate becomes an invalid UTF-8 byte, so that its id is
// refused.
type utf16Reader struct {
	in    io.Reader
	order binary.ByteOrder
	out   []byte // decoded but not read yet
	half  rune   // first half of a surrogate pair
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		var unit [2]byte
		if _, err := io.ReadFull(u.in, unit[:]); err != nil {
			if errors.Is(err, io.EOF) && u.half != 0 {
				u.half, u.out = 0, []byte{0xff}
				break
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("it is UTF-16 and ends in the middle of a character")
			}
			return 0, err
		}
		u.take(rune(u.order.Uint16(unit[:])))
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

func (u *utf16Reader) take(r rune) {
	whole := r
	if u.half != 0 {
		if whole = utf16.DecodeRune(u.half, r); whole == utf8.RuneError {
			u.out, whole = append(u.out, 0xff), r
		}
		u.half = 0
	}
	switch {
	case whole >= 0xd800 && whole < 0xdc00:
		u.half = whole
	case whole >= 0xdc00 && whole < 0xe000:
		u.out = append(u.out, 0xff)
	default:
		u.out = utf8.AppendRune(u.out, whole)
	}
}

// lineEnds replaces \r\n, and \r alone, with \n.
type lineEnds struct {
	in io.Reader
	cr bool // the last byte was a \r
}

func (l *lineEnds) Read(p []byte) (n int, err error) {
	for n == 0 && err == nil && len(p) > 0 {
		var read int
		read, err = l.in.Read(p)
		for _, c := range p[:read] {
			if after := l.cr; c == '\n' && after {
				l.cr = false
				continue
			}
			if l.cr = c == '\r'; l.cr {
				c = '\n'
			}
			p[n] = c
			n++
		}
	}
	return n, err
}
