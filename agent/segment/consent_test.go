package segment

import (
	"fmt"
	"strings"
	"testing"

	"personasync/store/domain"
)

// TestConsentIsReadAsSegmentDocumentsIt: only an object is a statement, and only the JSON true is a yes.
func TestConsentIsReadAsSegmentDocumentsIt(t *testing.T) {
	const none = "nothing"
	for _, tc := range []struct{ context, want string }{
		{`"context":null`, none},
		{`"context":{}`, none},
		{`"context":{"consent":null}`, none},
		{`"context":{"consent":{}}`, none},
		{`"context":{"consent":{}},"integrations":{"All":false}`, none},
		{`"context":{"consent":{"categoryPreferences":null}}`, none},
		{`"context":{"consent":{"categoryPreferences":[true]}}`, none},
		{`"context":{"consent":{"categoryPreferences":"Marketing"}}`, none},
		{`"context":{"consent":["categoryPreferences"]}`, none},
		{`"context":{"consent":{"categorypreferences":{"Marketing":true}}}`, none},
		{`"context":{"consent":{"categoryPreferences":{}}}`, "[]"},
		{`"context":{"consent":{"categoryPreferences":{"Marketing":true,"Analytics":false}}}`, "[Marketing]"},
		{`"context":{"consent":{"categoryPreferences":{"b":true,"a":true}}}`, "[a b]"},
		{`"context":{"consent":{"categoryPreferences":{"a":"conflict","b":"true","c":1,"d":null,"e":{},"f":[],"g":"yes"}}}`, "[]"},
		{`"context":{"consent":{"categoryPreferences":{"a":true,"a":false}}}`, "[]"},
		{`"context":{"consent":{"categoryPreferences":{"a":false,"a":true}}}`, "[a]"},
		{`"context":{"consent":{"categoryPreferences":{"M\u0061rketing":true}}}`, "[Marketing]"},
		{`"context":{"consent":{"categoryPreferences":{"":true,"a\ud83d":true,"` + strings.Repeat("x", domain.MaxCategory+1) + `":true,"b":true}}}`, "[b]"},
	} {
		e := Read([]byte(`{"type":"track","event":"Segment Consent Preference Updated","userId":"u",`+tc.context+`}`), Reading{})
		got := none
		if e.Consent != nil {
			got = fmt.Sprint(e.Consent.Given)
		}
		if got != tc.want || e.Fault != "" {
			t.Errorf("%s: read as %s, want %s; fault %q", tc.context, got, tc.want, e.Fault)
		}
		if e.IsConsentUpdate() != (tc.want != none) {
			t.Errorf("%s: an update of consent: %v", tc.context, e.IsConsentUpdate())
		}
	}
}

func TestTheCategoriesOfAUserAreBounded(t *testing.T) {
	var given []string
	for i := range domain.MaxCategories + 9 {
		given = append(given, fmt.Sprintf(`"c%03d":true`, i))
	}
	e := Read([]byte(`{"type":"identify","userId":"u","context":{"consent":{"categoryPreferences":{`+strings.Join(given, ",")+`}}}}`), Reading{})
	if n := len(e.Consent.Given); n != domain.MaxCategories || e.Consent.Given[n-1] != "c063" {
		t.Errorf("%d categories are kept: %v", n, e.Consent.Given)
	}
	if e.IsConsentUpdate() {
		t.Error("an identify is taken for the reserved event")
	}
}
