package syncer

import (
	"strings"
	"testing"
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
	}
}
