package config

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
)

var update = flag.Bool("update", false, "write the documents that are made from the code")

// docs/config.md must match the types, their tags and defaults, and the comments of agent.example.toml.
func TestReferenceIsUpToDate(t *testing.T) {
	const path = "../../docs/config.md"
	want := reference(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says: go test ./agent/config -run Reference -update", path)
	}
}

const referenceIntro = `# Configuration reference

Made from the code and from [agent.example.toml](../agent.example.toml); a test compares them. ` + "`personasync config show`" + ` prints each
value and its origin, and ` + "`config check`" + ` every fault at once, with key, value and line.

` + "`agent.toml`" + ` is found at ` + "`--config FILE`, else `$PERSONASYNC_CONFIG`, else `./agent.toml`, else `/etc/personasync/agent.toml`" + `. Environment
variables override it. Their lists are separated by commas. Times are written "500ms", "30s", "15m", "72h".

A secret is given once: as itself, as ` + "`x_file`" + `, or as a systemd credential. A file or credential may have several lines: the first is current, the
others are still accepted. Secrets are never shown or logged.
`

// reference returns the expected docs/config.md.
func reference(t *testing.T) string {
	notes, intros := remarks(string(Example()))
	var b strings.Builder
	b.WriteString(referenceIntro)
	last := "none"
	for _, f := range field.Of(Default(), "") {
		section, word, dotted := strings.Cut(f.Key, ".")
		if !dotted {
			section, word = "", f.Key
		}
		if section != last {
			last = section
			fmt.Fprintf(&b, "%s\n| key | default | may be | environment variable | meaning |\n| --- | --- | --- | --- | --- |\n", sectionHead(section, intros[section]))
		}
		note, known := notes[f.Key]
		if !known {
			t.Errorf("agent.example.toml does not have %s", f.Key)
		}
		if note == "" {
			t.Errorf("agent.example.toml does not say what %s is", f.Key)
		}
		note = strings.TrimPrefix(note, strings.ReplaceAll(f.Tag.Get("one"), "|", " | ")) // it has a column of its own
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", word, code(defaultOf(f)), mayBe(f), field.Variable(f.Key), cell(strings.TrimLeft(note, ":; ")))
	}
	b.WriteString("\n## [[computation]]\n\nOne audience or computed trait. Repeat the section for others. It is identified by its `key`, as Segment\nshows it, or by its `id` (`aud_…`). If both are set, the id decides. It has every key of `[defaults]`, which also\nhas the values of omitted keys. Environment variables do not apply here.\n\n| key | meaning |\n| --- | --- |\n")
	for _, f := range field.Of(&Computation{}, "computation.x.") {
		_, word := document.SplitKey(f.Key)
		if note, own := notes["computation."+word]; own && word != "key" {
			if _, inherited := notes["defaults."+word]; !inherited {
				fmt.Fprintf(&b, "| `%s` | %s |\n", word, cell(note))
			}
		}
	}
	return b.String()
}

func sectionHead(section, intro string) string {
	if section == "" {
		return "\n## Top level\n"
	}
	head := "\n## [" + section + "]\n"
	if intro != "" {
		head += "\n" + intro + "\n"
	}
	return head
}

func defaultOf(f field.Field) string {
	if f.IsSecret() {
		return ""
	}
	return f.Show()
}

func mayBe(f field.Field) string {
	if words := f.Tag.Get("one"); words != "" {
		return code(strings.Split(words, "|")...)
	}
	low, high := f.Tag.Get("min"), f.Tag.Get("max")
	switch {
	case low != "" && high != "":
		return low + " to " + high
	case low != "":
		return low + " or more"
	case f.Tag.Get("credential") != "":
		return "credential " + code(f.Tag.Get("credential"))
	}
	return ""
}

func code(words ...string) string {
	var quoted []string
	for _, w := range words {
		if w != "" {
			quoted = append(quoted, "`"+strings.ReplaceAll(w, "|", `\|`)+"`")
		}
	}
	return strings.Join(quoted, ", ")
}

func cell(note string) string { return strings.ReplaceAll(note, "|", `\|`) }

var (
	sectionLine = regexp.MustCompile(`^(?:# )?\[+([a-z]+)\]+$`)
	keyLine     = regexp.MustCompile(`^(?:# )?([a-z_]+) *= *(?:"[^"]*"|\[[^\]]*\]|[^ #]+) *(?:or [^#]*)?(?:# ?(.*))?$`)
)

// remarks reads the comments of the example: for each key those above and beside it, for each section those
// above it.
func remarks(example string) (notes, intros map[string]string) {
	notes, intros = make(map[string]string), make(map[string]string)
	section, above := "", []string(nil)
	for _, line := range strings.Split(example, "\n") {
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			section = m[1]
			intros[section], above = strings.Join(above, " "), nil
			continue
		}
		if m := keyLine.FindStringSubmatch(line); m != nil {
			key := m[1]
			if section != "" {
				key = section + "." + key
			}
			notes[key] = strings.TrimPrefix(strings.TrimSpace(strings.Join(append(above, m[2]), " ")), ">>> ")
			above = nil
			continue
		}
		text, comment := strings.CutPrefix(line, "#")
		if !comment {
			above = nil
			continue
		}
		indent := len(text) - len(strings.TrimLeft(text, " "))
		text = strings.TrimPrefix(strings.TrimSpace(text), ">>> ")
		switch words := strings.Fields(text); {
		case indent == 3 && len(words) > 1: // a list of words with their meanings
			text = "`" + words[0] + "`: " + strings.Join(words[1:], " ") + ";"
		case indent > 3 && len(above) > 0: // continues the last of them
			above[len(above)-1] = strings.TrimSuffix(above[len(above)-1], ";") + " " + text + ";"
			continue
		}
		above = append(above, text)
	}
	return notes, intros
}
