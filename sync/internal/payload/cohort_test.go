package payload

import (
	"encoding/json"
	"testing"

	"personasync/store/domain"
)

// Another name would be another custom segment at MoEngage, so an allowed name is sent unchanged.
func TestACohortLeavesUnderItsName(t *testing.T) {
	for name, want := range map[string]string{
		"High value shoppers":  "High value shoppers",
		"VIP-Kundinnen Köln_2": "VIP-Kundinnen Köln_2",
		"日本 の 顧客":              "日本 の 顧客",
		".Segment gold":        "Segment gold",
		"a|b*c?d\\e:f<g>h=i$j": "a_b_c_d_e_f_g_h_i_j",
		"tab\tand\nline":       "tab_and_line",
	} {
		head := CohortHead(&domain.Change{Kind: domain.KindCohort, Name: name, Transition: domain.TransitionEnter})
		var body struct {
			Action     string
			Parameters struct {
				Name string `json:"cohort_name"`
				ID   string `json:"cohort_id"`
			}
		}
		if err := json.Unmarshal([]byte(head+CohortTail), &body); err != nil || body.Action != "add_members" || body.Parameters.Name != want || body.Parameters.ID != want {
			t.Errorf("%q leaves as %+v, %v, want %q", name, body, err, want)
		}
	}
}
