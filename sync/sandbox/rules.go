package sandbox

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"personasync/sync/sandbox/internal/rawjson"
)

// Rule names a mistake of the sender, or data that MoEngage drops silently.
type Rule string

// Mistakes of the sender in a request that was or would have been answered 200.
const (
	ConcurrentUser Rule = "concurrent_user" // a user in two requests in progress on one endpoint
	UserTwice      Rule = "user_twice"      // attributes of one user twice in a request
	SoftSize       Rule = "soft_size"       // larger than the smaller reading of the limit
	NoAppKey       Rule = "no_app_key"      // no MOE-APPKEY where only older pages require it
	BadElement     Rule = "bad_element"     // an element dropped by lenient validation
)

// Data dropped or cut after the 200.
const (
	WrongCaseType   Rule = "wrong_case_type"      // "Customer" for "customer": dropped
	BlockedID       Rule = "blocked_id"           // dropped
	ReservedName    Rule = "reserved_name"        // the attribute or event is dropped
	CreateOnly      Rule = "create_only"          // an update of an attribute set only at creation: dropped
	NameLength      Rule = "name_length"          // cut at 200 characters
	ValueLength     Rule = "value_length"         // cut at 512 characters
	URLLength       Rule = "url_length"           // a URL over 512 characters: dropped
	NullValue       Rule = "null_value"           // dropped
	ObjectValue     Rule = "object_value"         // dropped unless Options.Objects
	ArrayValue      Rule = "array_value"          // over 50 elements, over 512 characters in one, or mixed: kept
	AttributeLimit  Rule = "attribute_limit"      // over 256 custom attributes in the workspace: dropped
	EventNameLimit  Rule = "event_name_limit"     // over 512 event names in the workspace: dropped
	EventAttributes Rule = "event_attributes"     // over 100 attributes of an event: the first 100 stay
	FutureEvent     Rule = "future_event"         // dropped
	BadTime         Rule = "bad_time"             // invalid current_time: taken as received now
	UnknownUID      Rule = "unknown_uid"          // a cohort member that is not a user: skipped
	ExistingOnly    Rule = "update_existing_only" // attributes of an unknown user, as asked: skipped
	UnknownUnset    Rule = "unknown_unset"        // unset of an attribute unknown in the workspace: ignored
)

// Violation is one occurrence of a Rule.
type Violation struct {
	At      time.Time `json:"at"`
	Request uint64    `json:"request"` // its number
	Rule    Rule      `json:"rule"`
	User    string    `json:"user,omitempty"`   // its first 512 characters
	Detail  string    `json:"detail,omitempty"` // first 200 characters: usually the name concerned
}

// reporter records a violation by a request.
type reporter func(rule Rule, user, detail string)

// Limits that MoEngage's Data Tracking Policies apply after accepting a request.
const (
	maxNameLength      = 200 // characters
	maxValueLength     = 512 // characters
	maxArrayLength     = 50
	maxEventAttributes = 100
	maxAttributeNames  = 256 // custom user attributes of a workspace
	maxEventNames      = 512 // of a workspace
)

// blockedIDs are never users. Neither is an id of one character ("Data Overview").
var blockedIDs = setOf("unknown", "guest", "null", "0", "1", "true", "false", "user_attribute_unique_id",
	"(empty)", "na", "n/a", "", "dummy_seller_code", "user_id", "id", "customer_id", "uid", "userid",
	"none", "-2", "-1", "2")

// reservedNames "should not be used when tracking user attributes" (same page), or are blocked in the OpenAPI file.
var reservedNames = setOf("USER_ATTRIBUTE_UNIQUE_ID", "USER_ATTRIBUTE_USER_EMAIL", "USER_ATTRIBUTE_USER_MOBILE",
	"USER_ATTRIBUTE_USER_NAME", "USER_ATTRIBUTE_USER_GENDER", "USER_ATTRIBUTE_USER_FIRST_NAME",
	"USER_ATTRIBUTE_USER_LAST_NAME", "USER_ATTRIBUTE_USER_BDAY", "USER_ATTRIBUTE_NOTIFICATION_PREF",
	"USER_ATTRIBUTE_OLD_ID", "USER_ATTRIBUTE_DND_START_TIME", "USER_ATTRIBUTE_DND_END_TIME",
	"MOE_TIME_FORMAT", "MOE_TIME_TIMEZONE", "MOE_GAID", "MOE_ISLAT", "INSTALL", "UPDATE",
	"status", "user_id", "source", "id", "_id", "")

// standardNames are MoEngage's own attributes that the API may update. They do not count as custom.
var standardNames = setOf("u_mb", "uid", "u_bd", "u_em", "u_n", "u_ln", "u_gd", "u_fn", "name", "first_name", "last_name",
	"email", "mobile", "gender", "age", "platforms", "moe_wa_subscription", "moe_em_unsub_categories", "moe_sub_w",
	"moe_spam", "moe_unsubscribe", "moe_hard_bounce", "moe_sms_subscription", "moe_email_open_tracking_consent")

// createOnlyNames are stored from the request that creates a user and never updated.
var createOnlyNames = setOf("publisher_name", "campaign_name", "u_l_a", "cr_t", "moe_gaid", "advertising_identifier", "moe_mweb")

func setOf(words ...string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	return set
}

func blockedID(id string) bool {
	return utf8.RuneCountInString(id) < 2 || blockedIDs[strings.ToLower(id)]
}

// systemPrefixed reports whether MoEngage may blacklist a name at any time.
func systemPrefixed(name string) bool {
	return strings.HasPrefix(strings.ToLower(name), "moe_") && !standardNames[name] && !createOnlyNames[name]
}

// judgeValue returns the stored form of a value, or nil, and the rule that was applied, or "".
func judgeValue(raw []byte, objects bool) ([]byte, Rule) {
	switch raw[0] {
	case 'n':
		return nil, NullValue
	case '{':
		if objects {
			return raw, ""
		}
		return nil, ObjectValue
	case '[':
		return judgeArray(raw, objects)
	case '"':
		return judgeString(raw)
	}
	return raw, ""
}

func judgeString(raw []byte) ([]byte, Rule) {
	if len(raw)-2 <= maxValueLength { // characters are never more than bytes with escapes
		return raw, ""
	}
	s := rawjson.Text(raw)
	if utf8.RuneCountInString(s) <= maxValueLength {
		return raw, ""
	}
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return nil, URLLength
	}
	return rawjson.Quote(firstRunes(s, maxValueLength)), ValueLength
}

// judgeArray drops an array of objects and keeps any other. MoEngage does not document the handling of arrays
// that are too long or mixed, so they are only recorded.
func judgeArray(raw []byte, objects bool) ([]byte, Rule) {
	var n int
	var kinds [256]bool
	rule := Rule("")
	for item := range rawjson.Items(raw) {
		kinds[kindOf(item)] = true
		n++
		if rawjson.Is(item, '"') && len(item)-2 > maxValueLength {
			rule = ArrayValue
		}
	}
	if kinds['{'] && !objects {
		return nil, ObjectValue
	}
	different := 0
	for _, k := range kinds {
		if k {
			different++
		}
	}
	if n > maxArrayLength || different > 1 {
		rule = ArrayValue
	}
	return raw, rule
}

// kindOf returns a value's type as one character: '0' for numbers, 't' for booleans.
func kindOf(raw []byte) byte {
	switch c := raw[0]; c {
	case '"', '{', '[', 'n', 't':
		return c
	case 'f':
		return 't'
	}
	return '0'
}

// firstRunes cuts a string and copies it, so that the rest can be freed.
func firstRunes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return strings.Clone(s[:i])
		}
		n--
	}
	return s
}

// eventTime parses current_time, a string or a number: ISO 8601, an epoch in seconds, or in milliseconds as in
// MoEngage's examples.
func eventTime(raw []byte) (time.Time, bool) {
	s := string(raw)
	if rawjson.Is(raw, '"') {
		s = rawjson.Text(raw)
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		if n > 1e11 {
			return time.UnixMilli(int64(n)).UTC(), true
		}
		return time.Unix(int64(n), 0).UTC(), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// unsetting is one entry of unset_attributes.
type unsetting struct {
	how, name     string
	caseSensitive bool
}

func readUnsettings(raw []byte) []unsetting {
	var all []unsetting
	for item := range rawjson.Items(raw) {
		all = append(all, unsetting{
			how:           rawjson.Text(rawjson.Member(item, "type")),
			name:          rawjson.Text(rawjson.Member(item, "attr")),
			caseSensitive: rawjson.Is(rawjson.Member(item, "case_sensitive"), 't'),
		})
	}
	return all
}

func (u unsetting) matches(name string) bool {
	want := u.name
	if !u.caseSensitive {
		name, want = strings.ToLower(name), strings.ToLower(want)
	}
	switch u.how {
	case "equals":
		return name == want
	case "prefix":
		return strings.HasPrefix(name, want)
	case "suffix":
		return strings.HasSuffix(name, want)
	case "contains":
		return strings.Contains(name, want)
	}
	return false
}

func unsets(all []unsetting, name string) bool {
	return slices.ContainsFunc(all, func(u unsetting) bool { return u.matches(name) })
}
