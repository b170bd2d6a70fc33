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

	"personasync/store/domain"
)

// The reference reads an event the slow and obvious way, with maps from encoding/json. Like the scanner, those
// take the last of duplicate names. It is written from the documented behaviour of Read, not from its code.

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

// id returns "" for an unusable id; odd tells it from a missing one.
func (o object) id(name string) (id string, odd bool) {
	raw := string(o[name])
	var n json.Number
	switch {
	case raw == "", raw == "null":
		return "", false
	case raw[0] == '"':
		id = domain.CleanID(o.string(name))
	case json.Unmarshal(o[name], &n) == nil:
		id = domain.PlainNumber(n.String())
		return id, id == ""
	default:
		return "", true
	}
	if !domain.Nameable(id) {
		return "", true
	}
	return id, false
}

// gist has the compared parts of an event, spans by their bytes.
type gist struct {
	Call                      domain.Call
	MessageID, Name           string
	User, Anonymous, Email    string
	Class                     domain.Class
	Space, Key, ComputationID string
	PassThrough               bool
	Flag                      domain.Flag
	Columns                   map[string]string
	Fault                     string
	Time                      time.Time
}

func gistOf(e *domain.Event) gist {
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

var hugeNumber = regexp.MustCompile(`\d[eE]\+?\d{3}|\d{300}`)

// beyondReference reports whether an object may be a row that Read does not take whole, or has parts that
// encoding/json does not distinguish.
func beyondReference(raw []byte) bool {
	top := parseObject(raw)
	if domain.LoneSurrogate(raw) >= 0 || hugeNumber.Match(raw) {
		return true
	}
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

func says(text string) bool { return strings.TrimFunc(text, domain.IsBlank) != "" }

// reference reads a valid webhook event that is not beyondReference.
func reference(raw []byte, received time.Time) (g gist) {
	top := parseObject(raw)
	g.Time = received
	g.MessageID, _ = top.id("messageId")
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
		g.Call = domain.CallTrack
	case traits != nil:
		if group, _ := top.id("groupId"); group != "" {
			g.Call = domain.CallGroup
			break
		}
		g.Call = domain.CallIdentify
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
	var oddUser, oddAnonymous, oddEmail bool
	g.User, oddUser = top.id("userId")
	g.Anonymous, oddAnonymous = top.id("anonymousId")
	own, other := traits, context.object("traits")
	switch g.Call {
	case domain.CallGroup:
		own = other
	case domain.CallTrack:
		own, other = other, own
	}
	if domain.CleanID(own.string("email")) == "" {
		own = other
	}
	if own.string("email") != "" {
		g.Email, oddEmail = own.id("email")
	}
	needID := func() {
		switch {
		case oddUser, g.User == "" && oddAnonymous, g.User+g.Anonymous == "" && oddEmail:
			fault(FaultBadUserID)
		case g.User+g.Anonymous+g.Email == "":
			fault(FaultNoIdentifier)
		}
	}

	if g.Call == domain.CallTrack {
		g.Name = top.string("event")
	}
	if g.Call == domain.CallDelete {
		fault(FaultUnverified)
		needID()
		return g
	}

	objects := []object{traits, properties}
	if g.Call == domain.CallTrack {
		objects = []object{properties, traits}
	}
	name := func(o object, member string) string {
		name := o.string(member)
		if !says(name) {
			return ""
		}
		if !domain.Nameable(name) {
			fault(FaultInvalidUTF8)
			return ""
		}
		return name
	}
	named := func(o object) (string, domain.Class) {
		if says(o.string("audience_key")) {
			return name(o, "audience_key"), domain.ClassAudience
		}
		if says(o.string("trait_key")) {
			return name(o, "trait_key"), domain.ClassTrait
		}
		return "", domain.ClassNone
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
	// alias returns the key that an object itself names.
	alias := func() string {
		for _, o := range objects {
			if key, class := named(o); class != domain.ClassNone {
				return key
			}
		}
		return ""
	}

	personas := context.object("personas")
	engage := false
	for _, member := range []string{"computation_class", "computation_id", "computation_key", "event_emitter_id"} {
		engage = engage || says(personas.string(member))
	}
	if engage {
		g.Class = map[string]domain.Class{
			"audience": domain.ClassAudience, "trait": domain.ClassTrait,
			"computed_trait": domain.ClassTrait, "journey_step": domain.ClassJourneyStep,
		}[personas.string("computation_class")]
		g.Key, g.ComputationID = name(personas, "computation_key"), name(personas, "computation_id")
		if g.Space = name(personas, "space_id"); g.Space == "" {
			g.Space = name(personas, "namespace")
		}
		emitter := name(personas, "event_emitter_id")
		g.PassThrough = g.Call == domain.CallTrack && (g.Class == domain.ClassJourneyStep || emitter != "")
		if !says(personas.string("computation_class")) {
			for _, o := range []object{objects[1], objects[0]} {
				if _, class := named(o); class != domain.ClassNone {
					g.Class = class
				}
			}
			switch {
			case g.Class != domain.ClassNone:
			case strings.HasPrefix(g.ComputationID, "tra_"):
				g.Class = domain.ClassTrait
			case strings.HasPrefix(g.ComputationID, "aud_"), g.PassThrough:
				g.Class = domain.ClassAudience
			}
		}
		if g.Key == "" {
			g.Key = alias()
		}
		if g.Key == "" && g.PassThrough {
			g.Key = cmp.Or(g.ComputationID, emitter, g.Class.String())
		}
		if !shorten() {
			return g
		}
		if g.Class == domain.ClassNone && (g.Key == "" || says(personas.string("computation_class"))) {
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
			if class != domain.ClassNone && o.has(key) {
				g.Key, g.Class, found = key, class, true
				objects = []object{o}
				if g.Call == domain.CallUnknown && !typed {
					g.Call = domain.CallTrack
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
	case domain.CallIdentify, domain.CallTrack:
	case domain.CallGroup:
		if g.User == "" && !oddUser {
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
	defer func() {
		if g.PassThrough && !says(g.Name) {
			if g.Name = ""; g.Flag == domain.FlagSilent && len(g.Columns) == 0 {
				fault(FaultMissingName)
			}
		}
	}()
	v, ok := value(g.Key)
	either := g.Class == domain.ClassNone
	flag := func() (said bool) {
		var text string
		_ = json.Unmarshal([]byte(v), &text)
		switch {
		case v == "true" || strings.EqualFold(text, "true"):
			g.Flag = domain.FlagIn
		case v == "false" || strings.EqualFold(text, "false"):
			g.Flag = domain.FlagOut
		}
		return g.Flag != domain.FlagSilent
	}
	if either {
		flag()
		defer fault(FaultUnknownClass)
	}
	if g.Class == domain.ClassTrait || either {
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
		if g.Columns = nil; !g.PassThrough && !either {
			fault(FaultNoValues)
		}
		return g
	}
	if !ok && engage {
		v, _ = value(alias())
	}
	if !flag() && !g.PassThrough {
		fault(FaultUndetermined)
	}
	return g
}

// moment matches a date and a time, each with and without punctuation.
var moment = regexp.MustCompile(`^(\d{4})(?:-(\d\d)-(\d\d)[Tt ]|(\d\d)(\d\d)[Tt ]?)` +
	`(?:(\d\d?):(\d\d)(?::(\d\d)(?:[.,:](\d+))?)?|(\d\d)(\d\d)(?:(\d\d)(?:[.,:](\d+))?)?)` +
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

// nesting returns the largest number of open brackets in valid JSON.
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
