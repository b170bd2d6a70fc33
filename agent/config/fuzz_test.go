package config

import (
	"strings"
	"testing"
)

// FuzzLoad reads arbitrary bytes. It must return a configuration, or faults that each say something.
func FuzzLoad(f *testing.F) {
	f.Add(Example())
	for _, doc := range []string{
		"", "\ufeff", "x", "[log]\nlevel = 1", "log = {level = \"info\", x = [{}]}", "computation = [{key = \"a\"}]", "computation = [1]",
		"[[computation]]\nkey = \"a\"\n[computation.b]\nc = 1\n[[computation.d]]", "[[computation]]\n[[computation]]", "[[log]]\n[[log]]",
		"[guard]\nx = 1", "a.b.c = 1\n[a]", "\"\" = 1", "[\"\"]\n\"\" = \"\"", "[ingest]\nlisten = \"unix:\"", "data_dir = 2026-01-01T00:00:00Z",
		"[moengage]\napi_key = [\"a\", \"\"]", "defaults.send = [\"none\", \"cohort\"]", "x = \"\xff\"", "[[computation]]\nid = \"\\u0000\"",
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := readDoc(string(doc))
		if err == nil {
			c.Rules()
			c.Effective()
			c.Warnings()
			return
		}
		faults, ok := err.(*Faults)
		if !ok || c != nil || len(faults.All) == 0 {
			t.Fatalf("neither a configuration nor faults: %v, %v", c, err)
		}
		for _, fault := range faults.All {
			if fault.Problem == "" || fault.Line < 0 || fault.Line > strings.Count(string(doc), "\n")+1 {
				t.Fatalf("a fault that helps nobody: %+v", fault)
			}
		}
	})
}
