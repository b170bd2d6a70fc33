package syncer

import (
	"strings"
	"unicode/utf8"

	"personasync/store"
)

// MaxIDBytes is the longest customer id that is sent. MoEngage documents no limit of its own; values
// are cut at 512 characters there, and an id that is cut is another user.
const MaxIDBytes = 512

// blockedIDs are the customer ids that MoEngage refuses, from its page "Data overview" and the FAQ
// below it. Whether it compares without regard to case is documented nowhere; an id that differs from
// these by case alone is as likely a mistake, so it is refused, too. Keys are lower case.
var blockedIDs = map[string]bool{
	"": true, "unknown": true, "guest": true, "null": true, "none": true, "true": true, "false": true,
	"-2": true, "-1": true, "0": true, "1": true, "2": true, "na": true, "n/a": true,
	"id": true, "uid": true, "userid": true, "user_id": true, "customer_id": true,
	"user_attribute_unique_id": true, "dummy_seller_code": true,
	`""`: true, "(empty)": true, // the page writes the empty id in both ways; as ids they mean nobody, too
}

// CheckID judges a customer id by MoEngage's rules, before anything is sent. It returns the empty
// string for a usable id, else the reason code under which the change is parked; [Explain] knows them.
func CheckID(id string) (fault string) {
	switch {
	case len(id) > MaxIDBytes:
		return "id_too_long"
	case !utf8.ValidString(id):
		return "id_invalid_utf8"
	case blockedIDs[strings.ToLower(id)]:
		return "id_blocked"
	case utf8.RuneCountInString(id) < 2:
		return "id_too_short"
	}
	return ""
}

// MaxNameLength is how many characters of a name MoEngage keeps.
const MaxNameLength = 200

// renamedPrefix stands before a name that MoEngage would refuse.
const renamedPrefix = "segment_"

// reservedNames are the user attributes that "should not be used when tracking user attributes" (the
// page "Data overview"). Keys are lower case; a name that differs by case alone is renamed, too.
var reservedNames = map[string]bool{
	"user_attribute_unique_id": true, "user_attribute_user_email": true, "user_attribute_user_mobile": true,
	"user_attribute_user_name": true, "user_attribute_user_gender": true, "user_attribute_user_first_name": true,
	"user_attribute_user_last_name": true, "user_attribute_user_bday": true, "user_attribute_notification_pref": true,
	"user_attribute_old_id": true, "user_attribute_dnd_start_time": true, "user_attribute_dnd_end_time": true,
	"install": true, "update": true, "status": true, "user_id": true, "source": true,
	// Not names: what they hold is added to lists, and taken out.
	"addvaluetoarrayfield": true, "removevaluefromarrayfield": true,
	// Set when a user is made, and never again.
	"publisher_name": true, "campaign_name": true, "u_l_a": true, "cr_t": true, "advertising_identifier": true,
}

// AttributeName returns the name under which a user attribute is sent and unset. It is name itself,
// unless MoEngage refuses or reserves it: then it bears the prefix "segment_", because data is never
// left out in silence. MoEngage's own attributes that may be updated keep their names. MoEngage cuts what is longer than MaxNameLength, and so does this, so that
// setting and unsetting mean the same attribute.
func AttributeName(name string) string {
	if isReservedAttribute(name) {
		name = renamedPrefix + name
	}
	return firstCharacters(name, MaxNameLength)
}

func isReservedAttribute(name string) bool {
	return !store.UpdatableAttribute(name) && (isRefusedName(name) || reservedNames[strings.ToLower(name)])
}

// EventName returns the name under which an event is sent, by the same rules: MoEngage drops events
// whose names it blocks, and answers 200.
func EventName(name string) string {
	if isRefusedName(name) {
		name = renamedPrefix + name
	}
	return firstCharacters(name, MaxNameLength)
}

// firstCharacters cuts s behind its n-th character.
func firstCharacters(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

// isRefusedName reports whether MoEngage refuses an event, or any attribute of a user or an event, of this name:
// three names answer 400 or vanish, and the prefix moe_ is subject to "periodic blacklisting without
// prior communication".
func isRefusedName(name string) bool {
	switch name {
	case "", "id", "_id":
		return true
	}
	return len(name) >= 4 && strings.EqualFold(name[:4], "moe_")
}
