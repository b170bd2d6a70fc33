package syncer

import (
	"strings"
	"unicode/utf8"
)

// maxIDBytes is the longest customer id that is sent. MoEngage documents no limit for ids. It cuts values at
// 512 characters, and a cut id is another user.
const maxIDBytes = 512

// blockedIDs are the customer ids that MoEngage refuses, from its page "Data overview" and the FAQ below it.
// Whether it ignores case is not documented. An id that differs only in case is as likely a mistake, so it is
// refused too. The keys are in lower case.
var blockedIDs = map[string]bool{
	"": true, "unknown": true, "guest": true, "null": true, "none": true, "true": true, "false": true,
	"-2": true, "-1": true, "0": true, "1": true, "2": true, "na": true, "n/a": true,
	"id": true, "uid": true, "userid": true, "user_id": true, "customer_id": true,
	"user_attribute_unique_id": true, "dummy_seller_code": true,
	`""`: true, "(empty)": true, // the page writes the empty id in both ways; as ids they identify no user either

	// Programs write these in place of a missing id. MoEngage accepts them and would merge many people into one
	// profile.
	"undefined": true, "nan": true, "nil": true, "<nil>": true, "(null)": true, "[object object]": true,
}

// CheckID checks a customer id by MoEngage's rules, before anything is sent. It returns "" for a usable id, or
// the reason code under which the event is parked (IdentifyUser in package domain).
func CheckID(id string) (fault string) {
	switch {
	case len(id) > maxIDBytes:
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
