package config

import (
	"reflect"
	"strings"
)

// The configuration's names are fixed before all of its features are built. A key whose feature is
// missing is refused by name rather than ignored: an operator who sets one must not believe in
// it. Whoever builds a feature deletes its line here, and documents its keys in agent.example.toml.

// unbuilt are keys, and sections with everything in them. Setting one to its default does no harm
// where the default is known here.
var unbuilt = []string{
	"retention.ex_members",
}

const notBuilt = "not built yet in this version: leave it out"

// isUnbuilt reports whether a key belongs to a missing feature; of a [[computation]] it does not
// matter which one.
func isUnbuilt(key string) bool {
	if strings.HasPrefix(key, computations) {
		_, word := splitKey(key)
		key = computations + "." + word
	}
	for _, name := range unbuilt {
		if key == name || strings.HasPrefix(key, name+".") {
			return true
		}
	}
	return false
}

// checkBuilt refuses values that only a missing feature could honour. defaults are the same fields,
// untouched.
func (l *loader) checkBuilt(all, defaults []field) {
	for i, f := range all {
		switch {
		case !l.given(f.key):
		case isUnbuilt(f.key) && !reflect.DeepEqual(f.ptr, defaults[i].ptr):
			l.refuse(f, notBuilt)
		}
	}
}
