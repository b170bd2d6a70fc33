package domain

import "testing"

// The cases are those of W3C Trace Context, 3.2.2 and 4.3.
func TestATraceparentIsReadByTheRules(t *testing.T) {
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for name, tc := range map[string]struct {
		header  string
		valid   bool
		sampled bool
	}{
		"sampled":                            {"00-" + id + "-" + span + "-01", true, true},
		"not sampled":                        {"00-" + id + "-" + span + "-00", true, false},
		"with other flags":                   {"00-" + id + "-" + span + "-fe", true, false},
		"of a later version":                 {"cc-" + id + "-" + span + "-01", true, true},
		"of a later version with more":       {"cc-" + id + "-" + span + "-01-what-the-future-has", true, true},
		"of a later version with a bad tail": {"cc-" + id + "-" + span + "-01.what", false, false},
		"of this version with more":          {"00-" + id + "-" + span + "-01-more", false, false},
		"of the version that is not allowed": {"ff-" + id + "-" + span + "-01", false, false},
		"with a version that is no number":   {".0-" + id + "-" + span + "-01", false, false},
		"without a trace":                    {"00-00000000000000000000000000000000-" + span + "-01", false, false},
		"without a parent":                   {"00-" + id + "-0000000000000000-01", false, false},
		"in upper case":                      {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" + span + "-01", false, false},
		"with an odd letter":                 {"00-4bf92f3577b34da6a3ce929d0e0e473g-" + span + "-01", false, false},
		"with flags that are no number":      {"00-" + id + "-" + span + "-.0", false, false},
		"with its dashes elsewhere":          {"00-" + id + "0-0f067aa0ba902b7-01", false, false},
		"too short":                          {"00-" + id + "-" + span + "-0", false, false},
		"empty":                              {"", false, false},
	} {
		got := ParseTrace(tc.header)
		if (got != nil) != tc.valid || got != nil && (got.String() != id || got.Sampled != tc.sampled) {
			t.Errorf("a header %s is read as %+v", name, got)
		}
	}
	span8 := [8]byte{7: 9}
	for header, want := range map[string]string{
		"00-" + id + "-" + span + "-01": "00-" + id + "-0000000000000009-01",
		"00-" + id + "-" + span + "-00": "00-" + id + "-0000000000000009-00",
	} {
		if got := ParseTrace(header).Parent(span8); got != want {
			t.Errorf("%s goes on as %s, want %s", header, got, want)
		}
	}
}
