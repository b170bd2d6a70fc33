// Package field is one key of the configuration: its value in a section, the tags that restrict it, and how it is read and
// shown. It knows no section. A value is set whole or not at all, and a secret is never shown.
package field

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// Field is one key of the configuration: its full name, a pointer to its value, and its restrictions.
type Field struct {
	Key string
	Ptr any // *string, *bool, *int, *int64, *float64, *Duration, *Secret, *[]string or *domain.SendMethods
	Tag reflect.StructTag
}

// Of lists the keys of a section in the order of its type. Embedded structs belong to the section, struct
// fields are sections of their own, and arrays of sections are left out.
func Of(section any, prefix string) []Field {
	var all []Field
	v := reflect.ValueOf(section).Elem()
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, ptr := sf.Tag.Get("toml"), v.Field(i).Addr()
		switch {
		case !sf.IsExported() || name == "-" || name == document.Computations:
		case sf.Anonymous:
			all = append(all, Of(ptr.Interface(), prefix)...)
		case sf.Type.Kind() == reflect.Struct && sf.Type != reflect.TypeFor[Duration]():
			all = append(all, Of(ptr.Interface(), prefix+name+".")...)
		default:
			all = append(all, Field{Key: prefix + name, Ptr: ptr.Interface(), Tag: sf.Tag})
		}
	}
	return all
}

// Named returns the field of the key word of a section. It panics if there is none.
func Named(section any, prefix, word string) Field {
	for _, f := range Of(section, prefix) {
		if f.Key == prefix+word {
			return f
		}
	}
	panic("config: no key " + prefix + word)
}

// EnvPrefix begins the name of every variable of ours.
const EnvPrefix = "PERSONASYNC_"

// Variable returns the name of the environment variable for a key.
func Variable(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// IsSecret reports whether the field's value must never be shown.
func (f Field) IsSecret() bool {
	_, ok := f.Ptr.(*Secret)
	return ok
}

// Show returns the field's value as TOML.
func (f Field) Show() string {
	switch p := f.Ptr.(type) {
	case *Secret:
		return p.String()
	case *string:
		return strconv.Quote(*p)
	case *Duration:
		return strconv.Quote(p.String())
	case *[]string:
		return document.QuoteAll(*p)
	case *domain.SendMethods:
		return ShowSend(*p)
	}
	return fmt.Sprint(reflect.ValueOf(f.Ptr).Elem())
}

// Set converts and stores v. On an error the field is unchanged.
func (f Field) Set(v document.Value) error {
	switch p := f.Ptr.(type) {
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
		return setSend(p, v)
	}
	panic(fmt.Sprintf("config: %s has a type that cannot be set: %T", f.Key, f.Ptr))
}

// setString stores a text. A zero byte would end a path early.
func (f Field) setString(p *string, v document.Value) error {
	if v.Kind != document.Text && v.Kind != document.Untyped {
		return errors.New("must be text in double quotes")
	}
	if strings.ContainsRune(v.Text, 0) {
		return errors.New("must not contain a zero byte")
	}
	if words := f.Tag.Get("one"); words != "" {
		if err := oneOf(v.Text, strings.Split(words, "|")); err != nil {
			return err
		}
	}
	*p = v.Text
	return nil
}

func setBool(p *bool, v document.Value) error {
	if v.Kind != document.Boolean && v.Kind != document.Untyped || v.Text != "true" && v.Text != "false" {
		return errors.New("must be true or false, without quotes")
	}
	*p = v.Text == "true"
	return nil
}

// setInt stores a whole number within the bounds of its tag.
func setInt[T int | int64](f Field, p *T, v document.Value) error {
	if v.Kind != document.Integer && v.Kind != document.Untyped {
		return errors.New("must be a whole number, without quotes")
	}
	base := 10
	if v.Kind == document.Integer {
		base = 0 // TOML allows 0x2A and 1_000; a variable does not
	}
	n, err := strconv.ParseInt(v.Text, base, 64)
	if err != nil || int64(T(n)) != n {
		return errors.New("must be a whole number")
	}
	lowest, highest := f.Tag.Get("min"), f.Tag.Get("max")
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
func (f Field) setShare(p *float64, v document.Value) error {
	n, err := strconv.ParseFloat(strings.ReplaceAll(v.Text, "_", ""), 64)
	if err != nil || v.Kind != document.Integer && v.Kind != document.Other && v.Kind != document.Untyped {
		return errors.New("must be a number like 0.3, without quotes")
	}
	lowest, highest := f.Tag.Get("min"), f.Tag.Get("max")
	if !(n >= float64(mustInt(lowest)) && n <= float64(mustInt(highest))) { // also refuses NaN
		if highest == "1" && n > 1 && n <= 100 {
			return fmt.Errorf("must be from %s to %s: write %v %% as %v", lowest, highest, n, n/100)
		}
		return fmt.Errorf("must be from %s to %s", lowest, highest)
	}
	*p = n
	return nil
}

// setDuration stores a duration within the bounds of its tag.
func (f Field) setDuration(p *Duration, v document.Value) error {
	if v.Kind != document.Text && v.Kind != document.Untyped {
		return errors.New(`must be a duration in double quotes, like "30s", "15m" or "72h"`)
	}
	var d Duration
	if err := d.UnmarshalText([]byte(v.Text)); err != nil {
		return err
	}
	lowest, highest := f.Tag.Get("min"), f.Tag.Get("max")
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
func (f Field) setSecret(p *Secret, v document.Value) error {
	if v.Kind == document.Text || v.Kind == document.Untyped && f.Tag.Get("env") != "list" {
		*p = SecretLines(v.Text)
		return nil
	}
	items, err := v.Texts()
	if err != nil {
		return errors.New("must be text in double quotes, or a list of such texts")
	}
	var s Secret
	for _, item := range items {
		lines := SecretLines(item)
		if len(lines) == 0 {
			return errors.New("has an empty value in the list")
		}
		s = append(s, lines...)
	}
	*p = s
	return nil
}

func setList(p *[]string, v document.Value) error {
	items, err := v.Texts()
	if err != nil {
		return err
	}
	*p = items
	return nil
}

func oneOf(word string, words []string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf("must be %s", wording.Either(words))
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
