package syncer

import (
	"strings"
	"unicode/utf8"
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

	// What programs write where they have no id. MoEngage would take these, and make one profile of many people.
	"undefined": true, "nan": true, "nil": true, "<nil>": true, "(null)": true, "[object object]": true,
}

// CheckID judges a customer id by MoEngage's rules, before anything is sent. It returns the empty
// string for a usable id, else the reason code under which the change is parked; [Explain] knows them.
func CheckID(id string) (fault string) {
	switch {
	case len(id) > MaxIDBytes:
		return "id_too_long"
	case !utf8.ValidString(id):
		return "id_invalid_utf8"
	case blockedIDs[strings.ToLower(strings.TrimSpace(id))]:
		return "id_blocked"
	case utf8.RuneCountInString(id) < 2:
		return "id_too_short"
	}
	return ""
}
