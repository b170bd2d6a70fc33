package condition

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// seenFromOutside are conditions of which an agent's own metric cannot tell, and why.
var seenFromOutside = map[string]string{NotRunning: "an agent that is gone answers no scrape"}

// TestConditionsAlertsAndRunbookHaveTheSameNames: an operator who is woken by one finds the others.
func TestConditionsAlertsAndRunbookHaveTheSameNames(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	alert := regexp.MustCompile(`(?s)- alert: (\w+)\n\s+expr: ([^\n]+)\n.*?condition: (\w+)\n\s+runbook: docs/operating\.md#(\w+)`)
	byAlert := make(map[string]string)
	told := make(map[string]bool) // conditions that have an alert
	rules := read("../../packaging/prometheus/rules.yml")
	for _, m := range alert.FindAllStringSubmatch(rules, -1) {
		name, expr, condition := m[1], m[2], m[3]
		byAlert[name], told[condition] = condition, true
		if seenFromOutside[condition] == "" && !strings.HasPrefix(expr, `personasync_condition{name="`+condition+`"`) {
			t.Errorf("%s is for the condition %s, and fires by %s", name, condition, expr)
		}
		if m[4] != strings.ToLower(name) {
			t.Errorf("%s leads to the page %s", name, m[4])
		}
	}
	if n := strings.Count(rules, "- alert: "); n != len(byAlert) {
		t.Errorf("%d of %d alerts name their condition", len(byAlert), n)
	}
	pages := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^### (Personasync\\w+)\nCondition `(\\w+)`\\.$").FindAllStringSubmatch(read("../../docs/operating.md"), -1) {
		pages[m[1]] = m[2]
	}
	for name, condition := range byAlert {
		if pages[name] != condition {
			t.Errorf("the page of %s is about %q, not %s", name, pages[name], condition)
		}
		if !slices.ContainsFunc(Kinds, func(k Kind) bool { return k.Name == condition }) {
			t.Errorf("%s names the condition %s, and there is none", name, condition)
		}
	}
	for name := range pages {
		if byAlert[name] == "" {
			t.Errorf("the runbook has a page on %s, and there is no such alert", name)
		}
	}
	for _, k := range Kinds {
		for _, severity := range k.Severities {
			_, section, _ := strings.Cut(Runbook(k.Name, severity), "#")
			if !slices.ContainsFunc(slices.Collect(maps.Keys(byAlert)), func(name string) bool { return strings.ToLower(name) == section && byAlert[name] == k.Name }) {
				t.Errorf("a message about %s, %s, leads to the section %q", k.Name, severity, section)
			}
		}
		if !told[k.Name] {
			t.Errorf("there is no alert for %s", k.Name)
		}
	}
}

// TestConditionsThatTheDocumentsNameExist, under these names.
func TestConditionsThatTheDocumentsNameExist(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range append(pages, "../../README.md", "../../CHANGELOG.md", "../../agent.example.toml") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("[Cc]onditions? `(\\w+)`(?:(?: and| or) `(\\w+)`)?").FindAllStringSubmatch(string(text), -1) {
			for _, name := range m[1:] {
				if named++; name != "" && !slices.ContainsFunc(Kinds, func(k Kind) bool { return k.Name == name }) {
					t.Errorf("%s names the condition %s, and there is none", page, name)
				}
			}
		}
	}
	if named < len(Kinds) {
		t.Errorf("only %d were found", named)
	}
}

// TestEveryConditionSaysWhatItCosts: an operator who is woken asks first what is lost, and whether it heals by itself.
func TestEveryConditionSaysWhatItCosts(t *testing.T) {
	if len(costs) != len(Kinds) {
		t.Errorf("%d costs for %d conditions", len(costs), len(Kinds))
	}
	for _, k := range Kinds {
		for _, sentence := range []string{costs[k.Name].lost, costs[k.Name].itself} {
			if !strings.HasSuffix(sentence, ".") || sentence[0] < 'A' || sentence[0] > 'Z' {
				t.Errorf("%s: %q is no sentence", k.Name, sentence)
			}
		}
	}
}
