package store

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
