package deletion

import (
	"bytes"
	"strings"
	"testing"

	"personasync/cli/internal/term"
	"personasync/store"
)

// TestAReceiptOfPostgreSQLNamesNoFile: it said that state.db had 0 bytes, and not what PostgreSQL keeps.
func TestAReceiptOfPostgreSQLNamesNoFile(t *testing.T) {
	for engine, want := range map[string]string{"": "state.db had", "postgres": "until a vacuum"} {
		var out bytes.Buffer
		w := term.New(&out, &out, func(string) string { return "" })
		if err := PrintForgotten(w, store.ForgetReport{Memberships: 1, Engine: engine}); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); !strings.Contains(text, want) || strings.Contains(text, "state.db") != (engine == "") {
			t.Errorf("%q: %s", engine, text)
		}
	}
}
