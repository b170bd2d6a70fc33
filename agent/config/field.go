package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"personasync/store/domain"
)

// field is one key of the configuration: its full name, a pointer to its value, and its restrictions.
type field struct {
	key string
	ptr any // *string, *bool, *int, *int64, *float64, *Duration, *Secret, *[]string or *store.Channels
	tag reflect.StructTag
}

// fields lists the keys of a section in the order of its type. Embedded structs belong to the section, struct
// fields are sections of their own, and arrays of sections are left out.
func fields(section any, prefix string) []field {
	var all []field
	v := reflect.ValueOf(section).Elem()
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, ptr := sf.Tag.Get("toml"), v.Field(i).Addr()
		switch {
		case !sf.IsExported() || name == "-" || name == computations:
		case sf.Anonymous:
			all = append(all, fields(ptr.Interface(), prefix)...)
		case sf.Type.Kind() == reflect.Struct && sf.Type != reflect.TypeFor[Duration]():
			all = append(all, fields(ptr.Interface(), prefix+name+".")...)
		default:
			all = append(all, field{key: prefix + name, ptr: ptr.Interface(), tag: sf.Tag})
		}
	}
	return all
}

// variable returns the name of the environment variable for a key.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// isSecret reports whether the field's value must never be shown.
func (f field) isSecret() bool {
	_, ok := f.ptr.(*Secret)
	return ok
}

// show returns the field's value as TOML.
func (f field) show() string {
	switch p := f.ptr.(type) {
	case *Secret:
		return p.String()
	case *string:
		return strconv.Quote(*p)
	case *Duration:
		return strconv.Quote(p.String())
	case *[]string:
		return quoteAll(*p)
	case *domain.SendMethods:
		return showChannels(*p)
	}
	return fmt.Sprint(reflect.ValueOf(f.ptr).Elem())
}

// set converts and stores v. On an error the field is unchanged.
func (f field) set(v value) error {
	switch p := f.ptr.(type) {
	case *string:
		return f.setString(p, v)
	case *bool:
		return setBool(p, v)
	case *int:
		return setInt(f, p, v)
	case *int64:
		return setInt(f, p, v)
	case *float64:
		return f.setShare(p, v)
	case *Duration:
		return f.setDuration(p, v)
	case *Secret:
		return f.setSecret(p, v)
	case *[]string:
		return setList(p, v)
	case *domain.SendMethods:
		return setChannels(p, v)
	}
	panic(fmt.Sprintf("config: %s has a type that cannot be set: %T", f.key, f.ptr))
}

func (f field) setString(p *string, v value) error {
	if v.kind != text && v.kind != untyped {
		return errors.New("must be text in double quotes")
	}
	if strings.ContainsRune(v.text, 0) {
		return errors.New("must not contain a zero byte")
	}
	if words := f.tag.Get("one"); words != "" {
		if err := oneOf(v.text, strings.Split(words, "|")); err != nil {
			return err
		}
	}
	*p = v.text
	return nil
}

func setBool(p *bool, v value) error {
	if v.kind != boolean && v.kind != untyped || v.text != "true" && v.text != "false" {
		return errors.New("must be true or false, without quotes")
	}
	*p = v.text == "true"
	return nil
}

func setInt[T int | int64](f field, p *T, v value) error {
	if v.kind != integer && v.kind != untyped {
		return errors.New("must be a whole number, without quotes")
	}
	base := 10
	if v.kind == integer {
		base = 0 // TOML allows 0x2A and 1_000; a variable does not
	}
	n, err := strconv.ParseInt(v.text, base, 64)
	if err != nil || int64(T(n)) != n {
		return errors.New("must be a whole number")
	}
	lowest, highest := f.tag.Get("min"), f.tag.Get("max")
	tooLow := lowest != "" && n < mustInt(lowest)
	tooHigh := highest != "" && n > mustInt(highest)
	switch {
	case tooHigh, tooLow && highest != "":
		return fmt.Errorf("must be from %s to %s", lowest, highest)
	case tooLow:
		return fmt.Errorf("must be %s or more", lowest)
	}
	*p = T(n)
	return nil
}

// setShare stores a number that may have a fraction. Its bounds are whole numbers.
func (f field) setShare(p *float64, v value) error {
	n, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
	if err != nil || v.kind != integer && v.kind != other && v.kind != untyped {
		return errors.New("must be a number like 0.3, without quotes")
	}
	lowest, highest := f.tag.Get("min"), f.tag.Get("max")
	if !(n >= float64(mustInt(lowest)) && n <= float64(mustInt(highest))) { // also refuses NaN
		return fmt.Errorf("must be from %s to %s", lowest, highest)
	}
	*p = n
	return nil
}

func (f field) setDuration(p *Duration, v value) error {
	if v.kind != text && v.kind != untyped {
		return errors.New(`must be a duration in double quotes, like "30s", "15m" or "72h"`)
	}
	var d Duration
	if err := d.UnmarshalText([]byte(v.text)); err != nil {
		return err
	}
	lowest, highest := f.tag.Get("min"), f.tag.Get("max")
	tooLow := lowest != "" && d.Duration < mustDuration(lowest)
	tooHigh := highest != "" && d.Duration > mustDuration(highest)
	switch {
	case tooHigh, tooLow && highest != "":
		return fmt.Errorf("must be from %s to %s", lowest, highest)
	case tooLow:
		return fmt.Errorf("must be %s or more", lowest)
	}
	*p = d
	return nil
}

// setSecret accepts one text, or a list during rotation. In the environment only a secret that is always a list
// is split at commas, because any other may contain one.
func (f field) setSecret(p *Secret, v value) error {
	if v.kind == text || v.kind == untyped && f.tag.Get("env") != "list" {
		*p = secretLines(v.text)
		return nil
	}
	items, err := texts(v)
	if err != nil {
		return errors.New("must be text in double quotes, or a list of such texts")
	}
	var s Secret
	for _, item := range items {
		lines := secretLines(item)
		if len(lines) == 0 {
			return errors.New("has an empty value in the list")
		}
		s = append(s, lines...)
	}
	*p = s
	return nil
}

func setList(p *[]string, v value) error {
	items, err := texts(v)
	if err != nil {
		return err
	}
	*p = items
	return nil
}

// texts reads a list of texts. In the environment it is comma-separated, and "" is an empty list.
func texts(v value) ([]string, error) {
	var items []string
	switch v.kind {
	case untyped:
		if strings.TrimSpace(v.text) == "" {
			return nil, nil
		}
		for item := range strings.SplitSeq(v.text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		return items, nil
	case list:
		for _, item := range v.items {
			if item.kind != text {
				return nil, errNotTexts
			}
			items = append(items, item.text)
		}
		return items, nil
	}
	return nil, errNotTexts
}

var errNotTexts = errors.New(`must be a list of texts, like ["one", "two"]`)

func oneOf(word string, words []string) error {
	for _, w := range words {
		if w == word {
			return nil
		}
	}
	return fmt.Errorf("must be %s", either(words))
}

// either joins words as "a, b or c".
func either(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func quoteAll(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = strconv.Quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// The functions below read the bounds in tags. They panic on an invalid tag, and a test reads all tags.

func mustInt(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func mustDuration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

// keyWords returns the last parts of all keys.
func keyWords() []string {
	var words []string
	for _, f := range slices.Concat(fields(&Config{}, ""), fields(&Computation{}, "")) {
		_, word := splitKey(f.key)
		words = append(words, word)
	}
	return words
}

// isPlainKey reports whether word is the last part of a key that is not a secret.
func isPlainKey(word string) bool {
	for _, f := range slices.Concat(fields(&Config{}, ""), fields(&Computation{}, "")) {
		if _, w := splitKey(f.key); w == word && !f.isSecret() {
			return true
		}
	}
	return false
}

// mentionsSecret reports whether text contains the name of a secret's key.
func mentionsSecret(text string) bool {
	for _, f := range fields(&Config{}, "") {
		if _, word := splitKey(f.key); f.isSecret() && strings.Contains(text, word) {
			return true
		}
	}
	return false
}
