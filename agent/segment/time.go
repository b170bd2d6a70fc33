package segment

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"personasync/store/domain"
)

// # When an event happened
//
// originalTimestamp comes first. It has nanoseconds where timestamp is cut to milliseconds, and two transitions
// of one user can share a millisecond. An event without either happened at its receipt plus its position in the
// delivery, so that an array without times keeps its order.
//
// On Tracking routes sentAt shows the error of the client's clock. The time is corrected as Segment does it:
// receipt - (sentAt - time). The sentAt of a batch takes precedence over that of an event in it, which an
// earlier sender may have left there. On the webhook route Segment has already applied sentAt.
//
// A slow clock looks like a stored request that is posted again. The store recognises a repeat by its messageId
// only as long as it remembers them. So a sentAt older than that corrects nothing: a replay of last year's
// requests must not look recent.

// maxBehind is the largest accepted delay of a client's clock. It equals the default of retention.message_ids.
const maxBehind = 48 * time.Hour

// OddTime describes an unusual time, for a warning.
type OddTime struct {
	Field    string // originalTimestamp, timestamp, sentAt
	Spelling string // the text's form without its content, which may be personal
	Read     bool   // whether it could be parsed, by a guess
}

// time sets when the event happened.
func (r *reader) time() {
	e := r.event
	receipt := e.Time
	e.Time = receipt.Add(time.Duration(r.how.Position))
	first, given := r.timestamp("originalTimestamp", r.top.originalTimestamp)
	t, source := first, given
	if given != domain.TimeOwn {
		t, source = r.timestamp("timestamp", r.top.timestamp)
		switch {
		case given == domain.TimeUnreadable && source == domain.TimeOwn:
			source = domain.TimeSecond
		case given == domain.TimeUnreadable:
			source = given
		}
	}
	if e.TimeSource = source; source == domain.TimeOwn || source == domain.TimeSecond {
		switch t = r.corrected(t, receipt); {
		case !t.After(receipt.Add(domain.MaxAhead)):
			e.Time = t
		case e.TimeSource == domain.TimeOwn:
			e.TimeSource = domain.TimeAhead
		}
	}
}

// corrected converts a client's time to the clock of the receipt.
func (r *reader) corrected(t, receipt time.Time) time.Time {
	if r.how.Route != RouteTracking {
		return t
	}
	sent, given := r.how.SentAt, domain.TimeOwn
	switch {
	case r.how.SentAtUnreadable:
		given = domain.TimeUnreadable
	case sent.IsZero():
		sent, given = r.timestamp("sentAt", r.top.sentAt)
	}
	if given == domain.TimeUnreadable {
		r.event.TimeSource = domain.TimeUncorrected
	}
	shift := receipt.Sub(sent)
	if given != domain.TimeOwn || shift > maxBehind || !possible(t.Add(shift)) {
		return t
	}
	r.event.ClockShift = shift
	return t.Add(shift)
}

// timestamp reads one time in UTC. Its source says whether it is the event's own, missing or unreadable.
func (r *reader) timestamp(field string, at domain.Span) (time.Time, domain.TimeSource) {
	t, spelling, source := readTime(r.raw, at, r.decoded)
	if spelling != "" && r.how.OddTime != nil {
		r.how.OddTime(OddTime{field, spelling, source == domain.TimeOwn})
	}
	return t, source
}

// readTime parses the time at a span of text. spelling is "" unless it is odd.
func readTime(text []byte, at domain.Span, decoded func(domain.Span) []byte) (t time.Time, spelling string, source domain.TimeSource) {
	if at.Len == 0 || text[at.Off] == 'n' {
		return t, "", domain.TimeNone
	}
	var given string
	switch c := text[at.Off]; {
	case c == '"':
		content := decoded(at)
		if t.UnmarshalText(content) == nil && possible(t) {
			return t.UTC(), "", domain.TimeOwn
		}
		if given = strings.TrimSpace(string(content)); given == "" {
			return t, "", domain.TimeNone
		}
	case c == '-', isDigit(c):
		given = string(cut(text, at))
	default:
		return t, shownValue(text, at), domain.TimeUnreadable
	}
	t, odd, ok := parseTime(given)
	switch {
	case !ok || !possible(t):
		return t, spellingOf(given), domain.TimeUnreadable
	case odd:
		return t, spellingOf(given), domain.TimeOwn
	}
	return t, "", domain.TimeOwn
}

// possible reports whether an event can have this time. The zero values of SDKs and databases are before 1970.
func possible(t time.Time) bool {
	y := t.UTC().Year()
	return 1970 <= y && y <= 9999
}

// parseTime parses ISO 8601 in the variants that occur, and epochs. It accepts lower case, digits of any
// script, a missing zone (UTC), missing seconds or punctuation, a colon or comma as the decimal point, and a
// colon before the Z as an old Swift SDK wrote it. odd is set for anything that is not a spelling of RFC 3339.
func parseTime(text string) (t time.Time, odd, ok bool) {
	plain := asciiTime(text)
	if t, ok := parseEpoch(plain); ok {
		return t, true, true
	}
	p := timeParser{s: plain}
	t, ok = p.parse()
	return t, p.odd || plain != text, ok
}

// asciiTime converts digits and signs of other scripts to ASCII. It removes the writing direction marks that
// some platforms insert.
func asciiTime(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c < 0x80:
			return c
		case c == '٫':
			return '.'
		case c == '−':
			return '-'
		case '！' <= c && c <= '～': // full width
			return c - '！' + '!'
		case unicode.Is(unicode.Cf, c):
			return -1
		case unicode.IsDigit(c):
			return '0' + digitValue(c)
		}
		return c
	}, text)
}

// digitValue returns the value of a decimal digit of any script. Each range of digits begins with a zero.
func digitValue(c rune) rune {
	for _, r := range unicode.Nd.R16 {
		if rune(r.Lo) <= c && c <= rune(r.Hi) {
			return (c - rune(r.Lo)) % 10
		}
	}
	for _, r := range unicode.Nd.R32 {
		if rune(r.Lo) <= c && c <= rune(r.Hi) {
			return (c - rune(r.Lo)) % 10
		}
	}
	return 0
}

// parseEpoch parses seconds since 1970 with ten digits (2001 to 2286) or milliseconds with thirteen, with an
// optional fraction. 12 and 14 digits are a date.
func parseEpoch(text string) (t time.Time, ok bool) {
	if strings.ContainsAny(text, "eE") { // a JSON number such as 1.7e12
		f, _ := strconv.ParseFloat(text, 64) // of no number it is 0, which has not enough digits
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	whole, fraction, _ := strings.Cut(text, ".")
	if !allDigits(whole+fraction) || whole == "" || whole[0] == '0' {
		return t, false
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return t, false
	}
	part := nanoseconds(fraction)
	switch len(whole) {
	case 10:
		return time.Unix(n, part).UTC(), true
	case 13:
		return time.UnixMilli(n).Add(time.Duration(part / 1000)).UTC(), true
	}
	return t, false
}

func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// nanoseconds converts the digits of a fraction of a second.
func nanoseconds(digits string) (n int64) {
	for i := range 9 {
		n *= 10
		if i < len(digits) {
			n += int64(digits[i] - '0')
		}
	}
	return n
}

// A timeParser parses one date and time, front to back.
type timeParser struct {
	s   string
	i   int
	odd bool
}

// parse reads a date and a time to the end of the text. Dashes must be both there or both missing.
func (p *timeParser) parse() (t time.Time, ok bool) {
	year, ok1 := p.number(4)
	dashes := p.skip("-")
	month, ok2 := p.number(2)
	if !ok1 || !ok2 || p.skip("-") != dashes {
		return t, false
	}
	day, ok := p.number(2)
	if !ok || !p.skip("Tt ") && (dashes || len(p.s)-p.i < 4) {
		return t, false
	}
	digits := 2
	if p.i+1 < len(p.s) && p.s[p.i+1] == ':' { // 9:26, which Go's own parser accepts in RFC 3339
		digits, p.odd = 1, true
	}
	hour, ok1 := p.number(digits)
	colons := p.skip(":")
	minute, ok2 := p.number(2)
	if !ok1 || !ok2 {
		return t, false
	}
	second, fraction, ok := p.seconds(colons)
	zone, known := p.zone()
	if !ok || !known || p.i < len(p.s) || hour > 23 || minute > 59 || second > 60 {
		return t, false
	}
	leap := second == 60
	t = time.Date(year, time.Month(month), day, hour, minute, min(second, 59), 0, time.UTC)
	if t.Day() != day || int(t.Month()) != month {
		return t, false
	}
	if leap { // Go has no leap seconds: the last microsecond of the second before keeps the order within and around it
		return t.Add(time.Second - time.Microsecond + fraction/1e6 - zone), true
	}
	return t.Add(fraction - zone), true
}

// number reads exactly n digits.
func (p *timeParser) number(n int) (v int, ok bool) {
	if len(p.s)-p.i < n || !allDigits(p.s[p.i:p.i+n]) {
		return 0, false
	}
	v, err := strconv.Atoi(p.s[p.i : p.i+n])
	p.i += n
	return v, err == nil
}

// skip skips one byte if it is in any.
func (p *timeParser) skip(any string) bool {
	if p.i == len(p.s) || strings.IndexByte(any, p.s[p.i]) < 0 {
		return false
	}
	p.i++
	return true
}

func (p *timeParser) digitAt(i int) bool { return i < len(p.s) && isDigit(p.s[i]) }

// seconds reads the optional seconds, and their fraction after a point, comma or colon.
func (p *timeParser) seconds(colons bool) (second int, fraction time.Duration, ok bool) {
	if colons && !(p.i < len(p.s) && p.s[p.i] == ':' && p.digitAt(p.i+1)) || !colons && !p.digitAt(p.i) {
		return 0, 0, true
	}
	p.skip(":")
	if second, ok = p.number(2); !ok || !p.digitAt(p.i+1) || !strings.ContainsRune(".,:", rune(p.s[p.i])) {
		return second, 0, ok
	}
	p.odd = p.odd || p.s[p.i] == ':'
	from := p.i + 1
	for p.i = from; p.digitAt(p.i); p.i++ {
	}
	return second, time.Duration(nanoseconds(p.s[from:p.i])), true
}

// zone reads the optional offset from UTC.
func (p *timeParser) zone() (east time.Duration, ok bool) {
	if p.skip(":") {
		p.odd = true
	}
	p.skip(" ")
	switch rest := p.s[p.i:]; strings.ToUpper(rest) {
	case "", "Z", "UTC", "GMT":
		p.i = len(p.s)
		return 0, true
	}
	west := p.i < len(p.s) && p.s[p.i] == '-'
	if !p.skip("+-") {
		return 0, false
	}
	hours, ok := p.number(2)
	minutes := 0
	if ok && (p.skip(":") || p.digitAt(p.i)) {
		minutes, ok = p.number(2)
	}
	east = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if west {
		east = -east
	}
	return east, ok && hours <= 23 && minutes <= 59
}

// mostSpelling is the number of characters of a spelling to show.
const mostSpelling = 40

// spellingOf returns the form of a text without its content. Digits become the 0 of their script, and letters
// become a, except for a T or Z after a digit or sign.
func spellingOf(text string) string {
	n, before := 0, ' '
	return strings.Map(func(c rune) rune {
		if n++; n > mostSpelling {
			return -1
		}
		last := before
		before = c
		switch {
		case c < 0x80 && isDigit(byte(c)):
			return '0'
		case unicode.IsDigit(c):
			return c - digitValue(c)
		case strings.ContainsRune("TZtz", c) && last != ' ' && !unicode.IsLetter(last):
			return c
		case unicode.IsLetter(c), unicode.IsMark(c):
			return 'a'
		case unicode.IsPrint(c):
			return c
		}
		return '?'
	}, text)
}
