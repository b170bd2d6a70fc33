package segment

import (
	"cmp"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	diff "github.com/google/go-cmp/cmp"

	"personasync/store"
)

// The reference reads an event the slow and obvious way, with maps out of encoding/json, which takes the
// last of duplicate names as the scanner does. It is written from the promises of Read, not from its code.

type object map[string]json.RawMessage

func parseObject(raw []byte) object {
	var o object
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}

func (o object) object(name string) object { return parseObject(o[name]) }

func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}

func (o object) string(name string) string {
	var s *string
	if json.Unmarshal(o[name], &s) != nil || s == nil {
		return ""
	}
	return *s
}

func (o object) id(name string) string {
	if s := o.string(name); s != "" {
		return s
	}
	var n json.Number
	if raw := o[name]; len(raw) > 0 && raw[0] != '"' && json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// gist is what is compared of an event: spans by their bytes.
type gist struct {
	Call                      store.Call
	MessageID, Name           string
	User, Anonymous, Email    string
	Class                     store.Class
	Space, Key, ComputationID string
	PassThrough               bool
	Flag                      store.Flag
	Columns                   map[string]string
	Fault                     string
	Time                      time.Time
}

func gistOf(e *store.Event) gist {
	g := gist{
		Call: e.Call, MessageID: e.MessageID, Name: e.Name,
		User: e.User.ID, Anonymous: e.Anonymous.ID, Email: e.Email.ID,
		Class: e.Class, Space: e.Space, Key: e.Key, ComputationID: e.ComputationID,
		PassThrough: e.PassThrough, Flag: e.Flag, Fault: e.Fault, Time: e.Time,
	}
	for _, c := range e.Columns {
		if g.Columns == nil {
			g.Columns = map[string]string{}
		}
		g.Columns[c.Name] = string(e.Bytes(c.Value))
	}
	return g
}

// beyondReference reports whether an object may be a row that Read does not take whole.
func beyondReference(raw []byte) bool {
	top := parseObject(raw)
	for _, o := range []object{top.object("traits"), top.object("properties")} {
		if len(o) > maxValues {
			return true
		}
		for name := range o {
			if len(name) > maxName {
				return true
			}
		}
	}
	return false
}

// reference reads a valid event of the webhook route that is not beyondReference.
func reference(raw []byte, received time.Time) gist {
	top := parseObject(raw)
	g := gist{Time: received, MessageID: top.id("messageId")}
	if g.MessageID == "" || len(g.MessageID) > 256 {
		g.MessageID = nameless(raw)
	}
	fault := func(code string) {
		if g.Fault == "" {
			g.Fault = code
		}
	}
	if !utf8.Valid(raw) {
		fault(FaultInvalidUTF8)
	}
	if nesting(raw) > maxDepth {
		fault(FaultTooDeep)
	}

	context := top.object("context")
	traits, properties := top.object("traits"), top.object("properties")
	typed := strings.HasPrefix(string(top["type"]), `"`)
	switch {
	case typed:
		g.Call = callOf(top.string("type"))
	case strings.HasPrefix(string(top["event"]), `"`), properties != nil:
		g.Call = store.CallTrack
	case traits != nil && top.id("groupId") != "":
		g.Call = store.CallGroup
	case traits != nil:
		g.Call = store.CallIdentify
	}
	for _, field := range []string{"timestamp", "originalTimestamp"} {
		text := top.string(field)
		if raw := top[field]; len(raw) > 0 && strings.ContainsRune("-0123456789", rune(raw[0])) {
			text = string(raw)
		}
		if t, ok := referenceTime(text); ok {
			if g.Time = t; t.After(received.Add(5 * time.Minute)) {
				g.Time = received
			}
		}
	}
	g.User, g.Anonymous = top.id("userId"), top.id("anonymousId")
	switch own, other := traits.string("email"), context.object("traits").string("email"); g.Call {
	case store.CallGroup:
		g.Email = other
	case store.CallTrack:
		if g.Email = other; other == "" {
			g.Email = own
		}
	default:
		if g.Email = own; own == "" {
			g.Email = other
		}
	}
	odd := g.User == "" && top.has("userId") && !strings.HasPrefix(string(top["userId"]), `"`) && string(top["userId"]) != "null"
	needID := func() {
		if odd {
			fault(FaultBadUserID)
		}
		if g.User+g.Anonymous+g.Email == "" {
			fault(FaultNoIdentifier)
		}
	}

	if g.Call == store.CallTrack {
		g.Name = top.string("event")
	}
	if g.Call == store.CallDelete {
		fault(FaultUnverified)
		needID()
		return g
	}

	objects := []object{traits, properties}
	if g.Call == store.CallTrack {
		objects = []object{properties, traits}
	}
	named := func(o object) (string, store.Class) {
		if key := o.string("audience_key"); key != "" {
			return key, store.ClassAudience
		}
		if key := o.string("trait_key"); key != "" {
			return key, store.ClassTrait
		}
		return "", store.ClassNone
	}
	shorten := func() (ok bool) {
		ok = true
		for _, name := range []*string{&g.Key, &g.ComputationID, &g.Space} {
			if len(*name) > maxName {
				fault(FaultNameTooLong)
				*name, ok = "", false
			}
		}
		return ok
	}
	// alias is the key that an object itself gives.
	alias := func() string {
		for _, o := range objects {
			if key, _ := named(o); key != "" {
				return key
			}
		}
		return ""
	}

	personas := context.object("personas")
	if raw := context["personas"]; len(raw) > 0 && string(raw) != "null" {
		g.Class = map[string]store.Class{
			"audience": store.ClassAudience, "trait": store.ClassTrait,
			"computed_trait": store.ClassTrait, "journey_step": store.ClassJourneyStep,
		}[personas.string("computation_class")]
		g.Key, g.ComputationID = personas.string("computation_key"), personas.string("computation_id")
		if g.Space = personas.string("space_id"); g.Space == "" {
			g.Space = personas.string("namespace")
		}
		g.PassThrough = g.Call == store.CallTrack && (g.Class == store.ClassJourneyStep || personas.string("event_emitter_id") != "")
		if g.Key == "" {
			g.Key = alias()
		}
		if !shorten() {
			return g
		}
		if g.Class == store.ClassNone {
			fault(FaultUnknownClass)
			return g
		}
		if g.Key == "" {
			fault(FaultMissingKey)
		}
	} else {
		found := false
		for _, o := range append(objects, top) {
			key, class := named(o)
			if class != store.ClassNone && o.has(key) {
				g.Key, g.Class, found = key, class, true
				objects = []object{o}
				if g.Call == store.CallUnknown && !typed {
					g.Call = store.CallTrack
				}
				if !shorten() {
					return g
				}
				break
			}
		}
		if !found {
			return g
		}
	}

	switch g.Call {
	case store.CallIdentify, store.CallTrack:
	case store.CallGroup:
		if g.User == "" && !odd {
			fault(FaultAccountLevel)
		}
	default:
		fault(FaultUnknownType)
	}
	needID()

	value := func(key string) (string, bool) {
		for _, o := range objects {
			if key != "" && o.has(key) {
				return string(o[key]), true
			}
		}
		return "", false
	}
	v, ok := value(g.Key)
	if g.Class == store.ClassTrait {
		g.Columns = map[string]string{}
		if ok {
			g.Columns[g.Key] = v
			return g
		}
		for _, o := range objects {
			for name, v := range o {
				if name != "email" && name != "trait_key" {
					g.Columns[name] = string(v)
				}
			}
			if len(g.Columns) > 0 {
				return g
			}
		}
		if g.Columns = nil; !g.PassThrough {
			fault(FaultNoValues)
		}
		return g
	}
	if !ok && personas != nil {
		v, _ = value(alias())
	}
	var text string
	_ = json.Unmarshal([]byte(v), &text)
	switch {
	case v == "true" || strings.EqualFold(text, "true"):
		g.Flag = store.FlagIn
	case v == "false" || strings.EqualFold(text, "false"):
		g.Flag = store.FlagOut
	case !g.PassThrough:
		fault(FaultUndetermined)
	}
	return g
}

// moment is a date and a time; the two forms of each are with punctuation and without.
var moment = regexp.MustCompile(`^(\d{4})(?:-(\d\d)-(\d\d)[Tt ]|(\d\d)(\d\d)[Tt ]?)` +
	`(?:(\d\d):(\d\d)(?::(\d\d)(?:[.,:](\d+))?)?|(\d\d)(\d\d)(?:(\d\d)(?:[.,:](\d+))?)?)` +
	`:? ?(?:[Zz]|(?i:utc|gmt)|([+-]\d\d)(?::?(\d\d))?)?$`)

var epoch = regexp.MustCompile(`^([1-9]\d{9}|[1-9]\d{12})(?:\.(\d*))?$`)

func referenceTime(text string) (t time.Time, ok bool) {
	text = asciiTime(strings.TrimSpace(text))
	if f, err := strconv.ParseFloat(text, 64); err == nil && strings.ContainsAny(text, "eE") && f >= 1e9 && f < 1e13 {
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if m := epoch.FindStringSubmatch(text); m != nil {
		whole, fraction := m[1], (m[2] + "000000000")[:9]
		if len(whole) == 13 {
			whole, fraction = whole[:10], (whole[10:] + fraction)[:9]
		}
		s, err1 := strconv.ParseInt(whole, 10, 64)
		ns, err2 := strconv.ParseInt(fraction, 10, 64)
		return time.Unix(s, ns).UTC(), err1 == nil && err2 == nil
	}
	m := moment.FindStringSubmatch(text)
	if m == nil {
		return t, false
	}
	second, fraction := cmp.Or(m[8], m[12], "00"), m[9]+m[13]
	if second == "60" {
		second, fraction = "59", "999999"+fraction
	}
	zone := "Z"
	if m[14] != "" {
		zone = m[14] + ":" + cmp.Or(m[15], "00")
	}
	t, err := time.Parse(time.RFC3339Nano, m[1]+"-"+m[2]+m[4]+"-"+m[3]+m[5]+"T"+m[6]+m[10]+":"+m[7]+m[11]+":"+second+"."+cmp.Or(fraction, "0")+zone)
	t = t.UTC()
	return t, err == nil && t.Year() >= 1970 && t.Year() <= 9999
}

// nesting is the most brackets open at once in valid JSON.
func nesting(raw []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func compareWithReference(t *testing.T, raw []byte) {
	t.Helper()
	if d := diffFromReference(raw); d != "" {
		t.Errorf("reading %q differs from the reference (-reference +Read):\n%s", clip(raw), d)
	}
}

func diffFromReference(raw []byte) string {
	return diff.Diff(reference(raw, received), gistOf(Read(raw, Reading{Received: received})))
}

func clip(raw []byte) []byte { return raw[:min(len(raw), 2000)] }
