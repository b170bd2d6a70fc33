package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The attributes of a line of the log whose texts stay: those with words of ours. Numbers, lengths of time and truth values
// stay under every name.
var (
	ownWords  = strings.Fields("time msg part level code job state phase severity condition data_dir dir file kept_as files dirs path socket address admin ingest listen version client_version epoch verb key took for since until first_record scheduled route method status warning holder pid uid data free before after pause")
	sentences = strings.Fields("error err reason why text") // of ours, but they may repeat a value
	plainText = pattern(`^(-?[0-9.]+(e[+-]?[0-9]+)?|true|false|([0-9.]+(h|m|s|ms|µs|ns))+|[0-9.]+ ?([kMGT]i?B|bytes)|20[0-9]{2}-[0-9T:.+Z-]+)$`)
)

// logLine returns a line of the agent's log as it may be shown, in any of the log's formats; "" for one that may not.
func logLine(line string) string {
	line = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return ""
	case strings.HasPrefix(line, "{"):
		return jsonLine(line)
	case strings.HasPrefix(line, "time="):
		return attrLine("", line)
	case tintLine().MatchString(line):
		m := tintLine().FindStringSubmatch(line)
		if m[2] == "DBG" {
			return ""
		}
		message, attrs := m[3], ""
		if i := attrStart().FindStringIndex(message); i != nil {
			message, attrs = message[:i[0]], message[i[0]:]
		}
		return attrLine(m[1]+" "+m[2]+" "+mild(message), attrs)
	case strings.HasPrefix(line, "personasync: "):
		return mild(line)
	case ofSystemd().MatchString(line), ofStack().MatchString(line):
		return line
	}
	return ""
}

var (
	tintLine  = pattern(`^(\d\d:\d\d:\d\d\.\d+) (DBG|INF|WRN|ERR)(?:[+-]\d+)? (.*)$`)
	attrStart = pattern(` [A-Za-z_.]+=`)
	attr      = pattern(`([A-Za-z_.]+)=("(?:[^"\\]|\\.)*"|[^ ]*)`)
	ofSystemd = pattern(`^((Starting|Started|Stopping|Stopped|Reloading|Reloaded|Failed to start) )?personasync[@\w.-]*\.(service|socket)[ :-]`)
	ofStack   = pattern(`^(goroutine \d+ \[[a-z ,0-9]+\]:|\t/?[\w./@+-]+\.go:\d+( \+0x[0-9a-f]+)?|[\w./*()-]+\((0x[0-9a-f]+|[{}?, .]|0x[0-9a-f]+\??)*\)|created by [\w./*()-]+.*|SIG[A-Z]+: [a-z ]+|PC=0x.*)$`)
)

// attrLine returns a line of NAME=VALUE; "" below level info.
func attrLine(head, text string) string {
	var b strings.Builder
	b.WriteString(head)
	for _, m := range attr().FindAllStringSubmatch(text, -1) {
		name, value := m[1], m[2]
		if quoted, err := strconv.Unquote(value); err == nil {
			value = quoted
		}
		if name == "level" && strings.HasPrefix(value, "DEBUG") {
			return ""
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s", name, quoteIfNeeded(shown(name, value)))
	}
	return b.String()
}

func quoteIfNeeded(text string) string {
	if strings.ContainsAny(text, " \"\n=") {
		return strconv.Quote(text)
	}
	return text
}

// shown is the value of an attribute as it may be shown.
func shown(name, value string) string {
	name = name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case plainText().MatchString(value) && len(value) < 40 && !strings.HasSuffix(name, "name") && name != "user" && name != "users_":
		return value
	case name == "msg" || slices.Contains(ownWords, name):
		return mildUnlessPlain(name, value)
	case slices.Contains(sentences, name):
		return mild(value)
	}
	return leftOut(value)
}

// mildUnlessPlain leaves messages, which are constant, and times as they are.
func mildUnlessPlain(name, value string) string {
	if name == "msg" || name == "time" || name == "since" || name == "until" {
		return value
	}
	return mild(value)
}

func jsonLine(line string) string {
	var attrs map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if d.Decode(&attrs) != nil || attrs["msg"] == nil || strings.HasPrefix(fmt.Sprint(attrs["level"]), "DEBUG") {
		return ""
	}
	for _, name := range slices.Collect(maps.Keys(attrs)) {
		switch v := attrs[name].(type) {
		case string:
			attrs[name] = shown(name, v)
		case json.Number, bool, nil:
			if name == "name" || name == "user" {
				attrs[name] = gap
			}
		default:
			attrs[name] = gap
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(attrs) != nil {
		return ""
	}
	return strings.TrimSpace(b.String())
}

// pattern returns a regular expression that is compiled when it is first used. Most commands use none, and to compile those of
// all packages takes 0.7 ms of every start.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
