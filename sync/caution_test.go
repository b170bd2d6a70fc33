package syncer

import (
	"fmt"
	"strings"
	"testing"

	"personasync/store"
)

func TestWhatMoEngageDropsInSilenceIsSaidOnce(t *testing.T) {
	long := strings.Repeat("é", 513)
	for want, value := range map[string]string{
		"":           `"` + strings.Repeat("é", 512) + `"`,
		cautionValue: `"` + long + `"`,
		cautionURL:   `"https://` + long + `"`,
		cautionArray: "[" + strings.Repeat("1,", 50) + "1]",
		" ":          "[" + strings.Repeat("1,", 49) + "1]",
		"  ":         `"` + strings.Repeat(`\u00e9`, 512) + `"`,
		"   ":        "true",
	} {
		if got := judgeValue([]byte(value)); got != strings.TrimSpace(want) {
			t.Errorf("%.40s: %q, want %q", value, got, want)
		}
	}
	cs := newCautions()
	f := &store.Flight{Deliveries: []store.Delivery{{User: "ann", Attributes: []store.Change{{Name: "bio", Value: []byte(`"` + long + `"`)}}}}}
	if got := fmt.Sprint(cs.look(f), cs.look(f)); got != "[{value_too_long bio}] []" {
		t.Error(got)
	}
}

func TestTheWorkspacesNamesAreCounted(t *testing.T) {
	cs := newCautions()
	var f store.Flight
	for i := range 520 {
		c := store.Change{Name: fmt.Sprint("name ", i), Value: []byte("true")}
		f.Deliveries = append(f.Deliveries, store.Delivery{User: "ann", Attributes: []store.Change{c}, Event: &c})
	}
	counted := map[string]int{}
	for _, c := range cs.look(&f) {
		counted[c.code]++
	}
	if got := fmt.Sprint(counted); got != "map[attribute_limit:264 event_name_limit:8]" {
		t.Error(got)
	}
}

func TestPropertiesThatAreLeftOutAreSaid(t *testing.T) {
	for n, want := range map[int]string{97: "", 98: cautionProperties} {
		var props []string
		for i := range n {
			props = append(props, fmt.Sprintf(`"p%d":%d`, i, i))
		}
		if got := judgeProperties([]byte("{" + strings.Join(props, ",") + "}")); got != want {
			t.Errorf("%d properties: %q, want %q", n, got, want)
		}
	}
}
