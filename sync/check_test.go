package syncer

import (
	"strconv"
	"strings"
	"testing"

	"personasync/store/domain"
)

func TestCheckID(t *testing.T) {
	tests := []struct{ id, fault string }{
		{"user-1001", ""},
		{"ab", ""},
		{"日本", ""},
		{"0123", ""},
		{"ann@example.test", ""},
		{"unknown-1", ""},
		{strings.Repeat("x", 512), ""},
		{strings.Repeat("x", 513), "id_too_long"},
		{strings.Repeat("é", 257), "id_too_long"},
		{"x", "id_too_short"},
		{"é", "id_too_short"},
		{"bad\xff", "id_invalid_utf8"},
		{"undefined", "id_blocked"}, {"Undefined", "id_blocked"}, {"NaN", "id_blocked"}, {"[object Object]", "id_blocked"},
		{"   ", "id_blocked"}, {" null ", "id_blocked"}, {" u1", ""}, {"undefined1", ""},
	}
	for _, id := range strings.Split("unknown guest null 0 1 true false user_attribute_unique_id na n/a  dummy_seller_code user_id id customer_id uid userid none -2 -1 2", " ") {
		tests = append(tests, struct{ id, fault string }{id, "id_blocked"}, struct{ id, fault string }{strings.ToUpper(id), "id_blocked"})
	}
	for _, tt := range tests {
		if got := CheckID(tt.id); got != tt.fault {
			t.Errorf("CheckID(%.20q) = %q, want %q", tt.id, got, tt.fault)
		}
		if _, known := Explain(tt.fault); tt.fault != "" && !known {
			t.Errorf("%s is not explained", tt.fault)
		}
	}
}

// A computation whose name MoEngage refuses or reserves is sent, and unset, under another name.
func TestNamesThatMoEngageRefusesAreRenamed(t *testing.T) {
	long := strings.Repeat("ä", domain.MaxName)
	for name, want := range map[string]string{
		"": "segment_", "id": "segment_id", "_id": "segment__id", "moe_x": "segment_moe_x", "MOE_GAID": "segment_MOE_GAID",
		"status": "segment_status", "source": "segment_source", "user_id": "segment_user_id", "INSTALL": "segment_INSTALL",
		"USER_ATTRIBUTE_USER_BDAY": "segment_USER_ATTRIBUTE_USER_BDAY",
		"moe_unsubscribe":          "moe_unsubscribe", "moe_spam": "moe_spam", "moe_hard_bounce": "moe_hard_bounce",
		"moe_em_unsub_categories": "moe_em_unsub_categories", "moe_sms_subscription": "moe_sms_subscription",
		"moe_wa_subscription": "moe_wa_subscription", "moe_sub_w": "moe_sub_w",
		"moe_email_open_tracking_consent": "moe_email_open_tracking_consent", "MOE_SPAM": "segment_MOE_SPAM",
		"vip": "vip", "email": "email", "moe": "moe", "status_2": "status_2", long: long, long + "x": long,
	} {
		if got := domain.AttributeName(name); got != want {
			t.Errorf("%q is sent as %q, want %q", name, got, want)
		}
		for _, value := range []string{"true", "null"} {
			b, err := encoder{}.appendAttributes(nil, "ann", []domain.Change{{Name: name, Value: []byte(value)}})
			if err != nil || !strings.Contains(string(b), strconv.Quote(want)) {
				t.Errorf("%q = %s: %s, %v", name, value, b, err)
			}
		}
	}
}
