package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/wording"
)

// fileVariable is read by Find. It is not a key.
const fileVariable = field.EnvPrefix + "CONFIG"

// environment has the variables of a process. Of duplicates the last counts, as in most programs.
type environment map[string]string

func parseEnvironment(environ []string) environment {
	env := environment{}
	for _, pair := range environ {
		if name, text, ok := strings.Cut(pair, "="); ok {
			env[name] = text
		}
	}
	return env
}

// takeEnvironment applies the variables and warns about those that match no key.
func takeEnvironment(r *report, env environment) {
	left := maps.Clone(env)
	delete(left, fileVariable)
	for _, f := range field.Of(r.cfg, "") {
		name := field.Variable(f.Key)
		given, ok := left[name]
		if !ok {
			continue
		}
		delete(left, name)
		from := origin{kind: fromEnv, name: name}
		v := document.Value{Kind: document.Untyped, Text: given}
		if err := f.Set(v); err != nil {
			r.add(faultAt(from, f.Key, mask(f, v), err.Error()))
			continue
		}
		r.cfg.origins[f.Key] = from
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		if strings.HasPrefix(name, field.EnvPrefix) {
			unknownVariable(r, name)
		}
	}
}

// unknownVariable only warns. Such variables may be inherited from anywhere, and one of a newer version must
// not stop the agent.
func unknownVariable(r *report, name string) {
	// The prefix is not compared: its matching letters would allow too many wrong ones.
	names := []string{strings.TrimPrefix(fileVariable, field.EnvPrefix)}
	for _, f := range field.Of(r.cfg, "") {
		names = append(names, strings.TrimPrefix(field.Variable(f.Key), field.EnvPrefix))
	}
	near := wording.Nearest(strings.TrimPrefix(name, field.EnvPrefix), names)
	r.cfg.notes = append(r.cfg.notes, fmt.Sprintf("environment variable %s is not known%s", name, wording.Hint(near, field.EnvPrefix+"%s")))
}
