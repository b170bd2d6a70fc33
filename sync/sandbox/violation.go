package sandbox

import "time"

// Rule names what a sender should not have done, or what MoEngage drops without saying so.
type Rule string

// What the sender did wrong on the wire, although it was answered 200 or would have been.
const (
	ConcurrentUser Rule = "concurrent_user" // a user in two requests in flight at once on one endpoint
	UserTwice      Rule = "user_twice"      // attributes of one user twice in a request
	SoftSize       Rule = "soft_size"       // larger than the smaller reading of the limit
	NoAppKey       Rule = "no_app_key"      // no MOE-APPKEY where it is not required but older pages list it
	BadElement     Rule = "bad_element"     // an element that lenient validation dropped
)

// What was dropped or cut after the 200.
const (
	WrongCaseType   Rule = "wrong_case_type"      // "Customer" for "customer": dropped
	BlockedID       Rule = "blocked_id"           // dropped
	ReservedName    Rule = "reserved_name"        // the attribute or event is dropped
	CreateOnly      Rule = "create_only"          // an update of what is set at creation only: dropped
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
	BadTime         Rule = "bad_time"             // current_time that cannot be read: taken as received now
	UnknownUID      Rule = "unknown_uid"          // a cohort member that is no user: skipped
	ExistingOnly    Rule = "update_existing_only" // attributes of an unknown user, as asked: skipped
	UnknownUnset    Rule = "unknown_unset"        // unset of an attribute the workspace never saw: ignored
)

// Violation is one breach of a rule.
type Violation struct {
	At      time.Time `json:"at"`
	Request uint64    `json:"request"` // its number
	Rule    Rule      `json:"rule"`
	User    string    `json:"user,omitempty"`   // its first 512 characters
	Detail  string    `json:"detail,omitempty"` // likewise 200: the name concerned, mostly
}
