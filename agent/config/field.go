package config

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

// field is one key of the configuration: its full name, a pointer to its value, and its restrictions.
type field struct {
	key string
	ptr any // *string, *bool, *int, *int64, *float64, *Duration, *Secret, *[]string or *domain.SendMethods
	tag reflect.StructTag
}

// Keys that the checks name. Their first definition is the tag in [Config].
const (
	keyDataDir      = "data_dir"
	keyStoreEngine  = "store.engine"
	keyStoreURL     = "store.url"
	keyIngestListen = "ingest.listen"
	keyTLSCert      = "ingest.tls_cert"
	keyTLSKey       = "ingest.tls_key"
	keyAdminSocket  = "admin.socket"
	keyAdminListen  = "admin.listen"
	keyBaseURL      = "moengage.base_url"
	keyBackupDir    = "backup.dir"
	keyNotifyURL    = "notify.url"
	keyHeaders      = "notify.headers"
	keyRoutingKey   = "notify.routing_key"
	keyHeartbeatURL = "notify.heartbeat_url"
)

// fields lists the keys of a section in the order of its type. Embedded structs belong to the section, struct
// fields are sections of their own, and arrays of sections are left out.
func fields(section any, prefix string) []field {
	var all []field
	v := reflect.ValueOf(section).Elem()
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, ptr := sf.Tag.Get("toml"), v.Field(i).Addr()
		switch {
		case !sf.IsExported() || name == "-" || name == document.Computations:
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

// everyField lists the keys of a whole configuration, those of a [[computation]] last.
func everyField() []field { return slices.Concat(fields(&Config{}, ""), fields(&Computation{}, "")) }

// keyed returns one field of a section.
func keyed(section any, prefix, word string) field {
	for _, f := range fields(section, prefix) {
		if f.key == prefix+word {
			return f
		}
	}
	panic("config: no key " + prefix + word)
}

// envPrefix begins the name of every variable of ours.
const envPrefix = "PERSONASYNC_"

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
		return document.QuoteAll(*p)
	case *domain.SendMethods:
		return showSend(*p)
	}
	return fmt.Sprint(reflect.ValueOf(f.ptr).Elem())
}

// set converts and stores v. On an error the field is unchanged.
func (f field) set(v document.Value) error {
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
		return setSend(p, v)
	}
	panic(fmt.Sprintf("config: %s has a type that cannot be set: %T", f.key, f.ptr))
}

// setString stores a text. A zero byte would end a path early.
func (f field) setString(p *string, v document.Value) error {
	if v.Kind != document.Text && v.Kind != document.Untyped {
		return errors.New("must be text in double quotes")
	}
	if strings.ContainsRune(v.Text, 0) {
		return errors.New("must not contain a zero byte")
	}
	if words := f.tag.Get("one"); words != "" {
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
func setInt[T int | int64](f field, p *T, v document.Value) error {
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
func (f field) setShare(p *float64, v document.Value) error {
	n, err := strconv.ParseFloat(strings.ReplaceAll(v.Text, "_", ""), 64)
	if err != nil || v.Kind != document.Integer && v.Kind != document.Other && v.Kind != document.Untyped {
		return errors.New("must be a number like 0.3, without quotes")
	}
	lowest, highest := f.tag.Get("min"), f.tag.Get("max")
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
func (f field) setDuration(p *Duration, v document.Value) error {
	if v.Kind != document.Text && v.Kind != document.Untyped {
		return errors.New(`must be a duration in double quotes, like "30s", "15m" or "72h"`)
	}
	var d Duration
	if err := d.UnmarshalText([]byte(v.Text)); err != nil {
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
func (f field) setSecret(p *Secret, v document.Value) error {
	if v.Kind == document.Text || v.Kind == document.Untyped && f.tag.Get("env") != "list" {
		*p = secretLines(v.Text)
		return nil
	}
	items, err := v.Texts()
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

func setList(p *[]string, v document.Value) error {
	items, err := v.Texts()
	if err != nil {
		return err
	}
	*p = items
	return nil
}

func oneOf(word string, words []string) error {
	for _, w := range words {
		if w == word {
			return nil
		}
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
