package sandbox

import "time"

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
