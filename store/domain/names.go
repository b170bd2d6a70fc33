package domain

import (
	"cmp"
	"strings"
	"unicode/utf8"
)

// The names under which things leave for MoEngage. They are computed here, because two places need the
// same answer: the registry compares names as they leave, and the sender writes them.

// MaxName is how many characters of a name MoEngage keeps.
const MaxName = 200

// RenamedPrefix stands before a name that MoEngage would refuse.
const RenamedPrefix = "segment_"

// reservedNames are the user attributes that "should not be used when tracking user attributes" (the
// page "Data overview"). Keys are lower case; a name that differs by case alone is renamed, too.
var reservedNames = map[string]bool{
	"user_attribute_unique_id": true, "user_attribute_user_email": true, "user_attribute_user_mobile": true,
	"user_attribute_user_name": true, "user_attribute_user_gender": true, "user_attribute_user_first_name": true,
	"user_attribute_user_last_name": true, "user_attribute_user_bday": true, "user_attribute_notification_pref": true,
	"user_attribute_old_id": true, "user_attribute_dnd_start_time": true, "user_attribute_dnd_end_time": true,
	"install": true, "update": true, "status": true, "user_id": true, "source": true,
	// Not names: their values are added to lists, and removed.
	"addvaluetoarrayfield": true, "removevaluefromarrayfield": true,
	// Set when a user is made, and never again.
	"publisher_name": true, "campaign_name": true, "u_l_a": true, "cr_t": true, "advertising_identifier": true,
}

// updatableAttributes are MoEngage's own attributes that its API may update ("Data overview", "Update
// through Track User API: yes"; the last is in the release notes of July 2026). They record what a user
// consents to. Under any other name an opt-out would have no effect, so they keep theirs.
var updatableAttributes = map[string]bool{
	"moe_unsubscribe": true, "moe_spam": true, "moe_hard_bounce": true, "moe_em_unsub_categories": true,
	"moe_sms_subscription": true, "moe_wa_subscription": true, "moe_sub_w": true,
	"moe_email_open_tracking_consent": true,
}

// UpdatableAttribute reports whether name is an attribute of MoEngage's own that may be updated.
func UpdatableAttribute(name string) bool { return updatableAttributes[name] }

// AttributeName returns the name under which a user attribute is sent and unset. It is name itself,
// unless MoEngage refuses or reserves it: then it bears the prefix "segment_", because data is never
// left out in silence. MoEngage's own attributes that may be updated keep their names. MoEngage cuts what
// is longer than MaxName, and so does this, so that setting and unsetting mean the same attribute.
func AttributeName(name string) string {
	if !UpdatableAttribute(name) && (isRefusedName(name) || reservedNames[strings.ToLower(name)]) {
		name = RenamedPrefix + name
	}
	return CutName(name)
}

// EventName returns the name under which an event, or an attribute of one, is sent, by the same rules:
// MoEngage drops events whose names it blocks, and answers 200.
func EventName(name string) string {
	if isRefusedName(name) {
		name = RenamedPrefix + name
	}
	return CutName(name)
}

// CohortRefused are the characters that no name of a cohort may have (the page "Cohort Sync").
const CohortRefused = `|*?\:<>=$"`

// CohortName returns the name under which a cohort is kept: name itself, unless MoEngage refuses it.
// Refused characters become underscores; a period at the beginning is taken off, because MoEngage's
// pages disagree whether one must be there or must not; a name of more than 200 characters is cut.
func CohortName(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(CohortRefused, r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	safe = strings.TrimSpace(CutName(strings.TrimSpace(strings.TrimLeft(safe, ". "))))
	safe = cmp.Or(safe, RenamedPrefix+"cohort")
	return safe
}

// SentName returns the name under which a change of some kind leaves.
func SentName(kind Kind, name string) string {
	switch kind {
	case KindCohort:
		return CohortName(name)
	case KindEvent:
		return EventName(name)
	}
	return AttributeName(name)
}

// CutName cuts name behind its last character that MoEngage keeps.
func CutName(name string) string {
	if len(name) <= MaxName {
		return name
	}
	n := MaxName
	for i := range name {
		if n--; n < 0 {
			return name[:i]
		}
	}
	return name
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
