package segment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
)

// engaged returns a webhook event with context.personas.
func engaged(class, rest string) string {
	return fmt.Sprintf(`{"messageId":"m","userId":"u","context":{"personas":{"computation_class":%q,"computation_id":"c1","computation_key":"k","space_id":"s"}},%s}`, class, rest)
}

func TestFaults(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 128) + `1` + strings.Repeat(`}`, 128)
	row := make([]string, 1001)
	for i := range row {
		row[i] = fmt.Sprintf(`"c%d":1`, i)
	}
	cases := []struct {
		name, raw, fault string
	}{
		{"nothing at all", ``, FaultInvalidJSON},
		{"cut off", `{"type":"track"`, FaultInvalidJSON},
		{"something behind the event", `{}{}`, FaultInvalidJSON},
		{"null", ` null `, FaultNotAnObject},
		{"a text", `"event"`, FaultNotAnObject},
		{"10,000 nested arrays", strings.Repeat("[", 10000) + strings.Repeat("]", 10000), FaultNotAnObject},
		{"a broken text", "{\"event\":\"\xff\"}", FaultInvalidUTF8},
		{"a broken name", "{\"\xc3\":1}", FaultInvalidUTF8},
		{"a replacement character, as a program wrote it for unreadable bytes", engaged("audience", `"type":"identify","traits":{"k":true,"city":"K�ln"}`), ""},
		{"128 levels are read", `{"a":` + deep[5:len(deep)-1] + `}`, ""},
		{"129 levels are not", `{"a":` + deep + `}`, FaultTooDeep},
		{"10,000 objects in each other", strings.Repeat(`{"a":`, 10000) + `1` + strings.Repeat(`}`, 10000), FaultTooDeep},

		{"an ordinary event without anything", `{}`, ""},
		{"an ordinary event of a type nobody knows", `{"type":"fax","userId":{}}`, ""},
		{"an ordinary group call", `{"type":"group","groupId":"g"}`, ""},
		{"null everywhere", `{"type":null,"userId":null,"anonymousId":null,"messageId":null,"event":null,"context":null,"traits":null,"properties":null,"timestamp":null,"originalTimestamp":null}`, ""},
		{"null personas", `{"type":"track","context":{"personas":null}}`, ""},

		{"personas without a class", `{"type":"track","userId":"u","context":{"personas":{"computation_key":"k"}},"properties":{"k":true}}`, FaultUnknownClass},
		{"a trait_key that is no text names no trait", `{"type":"track","userId":"u","context":{"personas":{"computation_key":"k"}},"properties":{"trait_key":450,"k":true}}`, FaultUnknownClass},
		{"an audience_key that is no text names no audience", `{"type":"track","userId":"u","context":{"personas":{"computation_key":"k"}},"properties":{"audience_key":450,"k":true}}`, FaultUnknownClass},
		{"personas of nulls say nothing", `{"type":"track","userId":"u","context":{"personas":{"computation_class":null,"computation_key":null,"space_id":"s"}}}`, ""},
		{"personas that are no object say nothing", `{"type":"track","userId":"u","context":{"personas":"yes"}}`, ""},
		{"personas of a class alone", `{"type":"identify","userId":"u","context":{"personas":{"computation_class":"audience"}}}`, FaultMissingKey},
		{"a key of blanks", strings.Replace(engaged("audience", `"type":"identify","traits":{" ":true}`), `"computation_key":"k"`, `"computation_key":" "`, 1), FaultMissingKey},
		{"a key with a zero byte", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"computation_key":"k"`, `"computation_key":"k\u0000"`, 1), FaultInvalidUTF8},
		{"a key with half a character", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"computation_key":"k"`, `"computation_key":"k\ud83d"`, 1), FaultInvalidUTF8},
		{"an id with half a character", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"c1"`, `"c\ud83d"`, 1), FaultInvalidUTF8},
		{"a space with half a character", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"space_id":"s"`, `"space_id":"\ud83d"`, 1), FaultInvalidUTF8},
		{"a column's name with half a character", engaged("trait", `"type":"identify","traits":{"a\ud83d":1,"a\ud83e":2}`), FaultInvalidUTF8},

		{"a step without name, key and flag", `{"type":"track","userId":"u","context":{"personas":{"computation_class":"journey_step","computation_id":"aud_j"}},"properties":{"step":1}}`, FaultMissingName},
		{"a step with a name of blanks", engaged("journey_step", `"type":"track","event":" ","properties":{}`), FaultMissingName},
		{"a step without a name, but with a flag", engaged("journey_step", `"type":"track","properties":{"k":true}`), ""},
		{"an emitter without name and class", `{"type":"track","userId":"u","context":{"personas":{"event_emitter_id":"em"}},"properties":{"a":1}}`, FaultMissingName},

		{"a number beyond a double", engaged("trait", `"type":"identify","traits":{"k":1e400}`), FaultBadValue},
		{"a number beyond a double, in every column", engaged("trait", `"type":"identify","traits":{"a":1e400,"b":[{"y":-1e309}]}`), FaultBadValue},
		{"a number of 400 digits", engaged("trait", `"type":"identify","traits":{"k":`+strings.Repeat("9", 400)+`}`), FaultBadValue},
		{"a number beyond a double, where nothing is read", engaged("audience", `"type":"identify","traits":{"k":true},"x":1e400`), ""},
		{"the largest double", engaged("trait", `"type":"identify","traits":{"k":1.7976931348623157e308}`), ""},
		{"a class from the future", engaged("cohort", `"type":"track","properties":{"k":true}`), FaultUnknownClass},
		{"no key", `{"type":"track","userId":"u","context":{"personas":{"computation_class":"audience"}},"properties":{"k":true}}`, FaultMissingKey},
		{"a key that is too long", strings.Replace(engaged("audience", `"type":"track"`), `"k"`, `"`+strings.Repeat("k", 513)+`"`, 1), FaultNameTooLong},

		{"a page with personas", engaged("audience", `"type":"page","properties":{"k":true}`), FaultUnknownType},
		{"a type that is not known", engaged("audience", `"type":"fax","traits":{"k":true}`), FaultUnknownType},
		{"no type, and no shape to tell it by", engaged("audience", `"x":1`), FaultUnknownType},
		{"no type, but traits", engaged("audience", `"traits":{"k":true}`), ""},

		{"a group call without a user", strings.Replace(engaged("audience", `"type":"group","groupId":"g","traits":{"k":true}`), `"userId":"u"`, `"userId":null`, 1), FaultAccountLevel},
		{"a group call with a user", engaged("audience", `"type":"group","groupId":"g","traits":{"k":true}`), ""},
		{"nobody", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"u"`, `""`, 1), FaultNoIdentifier},
		{"a userId that is an object", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"u"`, `{"id":1}`, 1), FaultBadUserID},
		{"a userId that is a bool, beside an anonymousId", strings.Replace(engaged("audience", `"type":"identify","anonymousId":"a","traits":{"k":true}`), `"u"`, `true`, 1), FaultBadUserID},

		{"a userId of blanks", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"u"`, `" \t "`, 1), FaultNoIdentifier},
		{"a userId of blanks, beside an anonymousId", strings.Replace(engaged("audience", `"type":"identify","anonymousId":"a","traits":{"k":true}`), `"u"`, `"  "`, 1), ""},
		{"a userId with a zero byte, beside an anonymousId", strings.Replace(engaged("audience", `"type":"identify","anonymousId":"a","traits":{"k":true}`), `"u"`, `"u\u0000"`, 1), FaultBadUserID},
		{"a userId with a line end", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"u"`, `"u\n"`, 1), FaultBadUserID},
		{"a userId with half a character", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"u"`, `"u\ud83d"`, 1), FaultBadUserID},
		{"a userId beyond a double", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"u"`, `1e400`, 1), FaultBadUserID},
		{"an anonymousId with half a character, before an address", strings.Replace(engaged("audience", `"type":"identify","anonymousId":"\ud83d","traits":{"k":true,"email":"e@x"}`), `"u"`, `null`, 1), FaultBadUserID},
		{"an anonymousId with half a character, behind a userId", engaged("audience", `"type":"identify","anonymousId":"\ud83d","traits":{"k":true}`), ""},
		{"an address with a zero byte", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true,"email":"e\u0000@x"}`), `"u"`, `null`, 1), FaultBadUserID},

		{"no flag", engaged("audience", `"type":"identify","traits":{"other":true}`), FaultUndetermined},
		{"a flag that is null", engaged("audience", `"type":"identify","traits":{"k":null}`), FaultUndetermined},
		{"a flag that is 1", engaged("audience", `"type":"identify","traits":{"k":1}`), FaultUndetermined},
		{"a flag that says yes", engaged("audience", `"type":"identify","traits":{"k":"yes"}`), FaultUndetermined},
		{"an event name is no flag", engaged("audience", `"type":"track","event":"Audience Exited","properties":{}`), FaultUndetermined},
		{"traits that disagree with properties decide", engaged("audience", `"type":"identify","traits":{"k":null},"properties":{"k":false}`), FaultUndetermined},
		{"a step without a flag in an identify", engaged("journey_step", `"type":"identify","traits":{}`), FaultUndetermined},

		{"a trait without traits", engaged("trait", `"type":"identify"`), FaultNoValues},
		{"a trait with nothing but an address", engaged("trait", `"type":"identify","traits":{"email":"e"}`), FaultNoValues},
		{"a row of 1,001 columns", engaged("trait", `"type":"identify","traits":{`+strings.Join(row, ",")+`}`), FaultTooManyVals},
		{"a row of 1,000 columns", engaged("trait", `"type":"identify","traits":{`+strings.Join(row[1:], ",")+`}`), ""},
		{"a column with an endless name", engaged("trait", `"type":"identify","traits":{"`+strings.Repeat("c", 513)+`":1}`), FaultNameTooLong},

		{"a delete that nobody signed", `{"type":"delete","userId":"u"}`, FaultUnverified},
		{"an audience_key with a value that is no flag", `{"userId":"u","properties":{"audience_key":"k","k":0}}`, FaultUndetermined},
		{"an audience_key without a value is ordinary", `{"userId":"u","properties":{"audience_key":"k"}}`, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := Read([]byte(c.raw), Reading{Received: received})
			if e.Fault != c.fault {
				t.Errorf("fault %q (%s), want %q", e.Fault, e.Sentence, c.fault)
			}
			spansAreJSON(t, e)
		})
	}
}

// TestTheSentenceSaysWhichIdentifierIsUnusableAndWhy: it is all that a person learns of a parked event before they look into it.
func TestTheSentenceSaysWhichIdentifierIsUnusableAndWhy(t *testing.T) {
	const (
		kind, control = "; it must be a text or a number", "a text with control characters or an unpaired surrogate"
		exponent      = "a number that cannot be written out without an exponent"
	)
	for ids, want := range map[string]string{
		`"userId":{"id":1}`:              "The userId is an object" + kind,
		`"userId":[1],"anonymousId":"a"`: "The userId is an array" + kind,
		`"userId":true`:                  "The userId is true or false" + kind,
		`"userId":false`:                 "The userId is true or false" + kind,
		`"userId":"u\u0000"`:             "The userId is " + control,
		`"userId":1e400`:                 "The userId is " + exponent,
		`"userId":-1e400`:                "The userId is " + exponent,
		`"anonymousId":{}`:               "The anonymousId is an object" + kind,
		`"anonymousId":"\ud83d","traits":{"email":"e"}`: "The anonymousId is " + control,
		`"traits":{"email":"e\u0000"}`:                  "The e-mail address is " + control,
		`"userId":null`:                                 "The event has no userId, no anonymousId and no e-mail address",
	} {
		e := Read([]byte(`{"type":"identify","context":{"personas":{"computation_class":"audience","computation_key":"k"}},`+ids+`}`), Reading{Received: received})
		if !strings.HasPrefix(e.Sentence, want) {
			t.Errorf("%s: %s: %s", ids, e.Fault, e.Sentence)
		}
	}
}

func TestMeaning(t *testing.T) {
	cases := []struct {
		name, raw string
		want      string // call class key flag columns
	}{
		{"identify says in", engaged("audience", `"type":"identify","traits":{"k":true}`), "identify audience k in"},
		{"identify says out", engaged("audience", `"type":"identify","traits":{"k":false}`), "identify audience k out"},
		{"a text says out", engaged("audience", `"type":"identify","traits":{"k":"False"}`), "identify audience k out"},
		{"track in properties", engaged("audience", `"type":"track","event":"E","properties":{"k":true},"traits":{"k":false}`), "track audience k in"},
		{"track in traits, as a warehouse page shows it", engaged("audience", `"type":"track","event":"E","traits":{"k":true}`), "track audience k in"},
		{"the last of duplicates", engaged("audience", `"type":"identify","traits":{"k":true,"k":false}`), "identify audience k out"},
		{"the last of duplicate objects", engaged("audience", `"type":"identify","traits":{"k":true},"traits":{"k":false}`), "identify audience k out"},
		{"an escaped name is the name", engaged("audience", `"type":"identify","traits":{"\u006b":true}`), "identify audience k in"},
		{"audience_key names the flag", engaged("audience", `"type":"track","event":"E","properties":{"audience_key":"j","j":true}`), "track audience k in"},
		{"another bool is no flag", engaged("journey_step", `"type":"track","event":"E","properties":{"vip":true}`), "track journey_step k silent pass"},
		{"a step with a flag", engaged("journey_step", `"type":"track","event":"E","properties":{"k":true}`), "track journey_step k in pass"},
		{"a step's identify does not pass through", engaged("journey_step", `"type":"identify","traits":{"k":true}`), "identify journey_step k in"},

		{"a step without a key goes by its id", `{"type":"track","event":"E","userId":"u","context":{"personas":{"computation_class":"journey_step","computation_id":"aud_j"}},"properties":{"step":1}}`, "track journey_step aud_j silent pass"},
		{"a step without key and id goes by its emitter", `{"type":"track","event":"E","userId":"u","context":{"personas":{"computation_class":"journey_step","event_emitter_id":"em"}},"properties":{"step":1}}`, "track journey_step em silent pass"},
		{"a step without any of them", `{"type":"track","event":"E","userId":"u","context":{"personas":{"computation_class":"journey_step"}},"properties":{"step":1}}`, "track journey_step journey_step silent pass"},
		{"no class, but an audience_key", `{"type":"track","event":"E","userId":"u","context":{"personas":{"computation_id":"c1","computation_key":"k"}},"properties":{"audience_key":"k","k":true}}`, "track audience k in"},
		{"no class, but a trait_key", `{"type":"track","event":"E","userId":"u","context":{"personas":{"computation_class":"","computation_id":"c1","computation_key":"k"}},"properties":{"trait_key":"k","k":true}}`, "track trait k silent k=true"},
		{"no class, but the id of an audience", `{"type":"identify","userId":"u","context":{"personas":{"computation_class":null,"computation_id":"aud_1","computation_key":"k"}},"traits":{"k":true}}`, "identify audience k in"},
		{"no class, but the id of a trait", `{"type":"identify","userId":"u","context":{"personas":{"computation_id":"tra_1","computation_key":"k"}},"traits":{"k":true}}`, "identify trait k silent k=true"},
		{"personas without class, id and key are none", `{"type":"identify","userId":"u","context":{"personas":{"space_id":"s"}},"traits":{"audience_key":"k","k":true}}`, "identify audience k in"},

		{"a trait", engaged("trait", `"type":"identify","traits":{"k":450.00,"email":"e","other":1}`), "identify trait k silent k=450.00"},
		{"a trait spelled computed_trait", engaged("computed_trait", `"type":"identify","traits":{"k":[1, 2]}`), "identify trait k silent k=[1, 2]"},
		{"a bool trait is no membership", engaged("trait", `"type":"track","event":"E","properties":{"trait_key":"k","k":true}`), "track trait k silent k=true"},
		{"a trait called email", strings.Replace(engaged("trait", `"type":"identify","traits":{"email":"e"}`), `"computation_key":"k"`, `"computation_key":"email"`, 1), `identify trait email silent email="e"`},
		{"a trait that became null", engaged("trait", `"type":"identify","traits":{"k":null}`), "identify trait k silent k=null"},
		{"a row", engaged("trait", `"type":"identify","traits":{"a":1,"email":"e","b":null,"trait_key":"x","a":"2"}`), `identify trait k silent a="2" b=null`},

		{"audience_key alone", `{"type":"track","userId":"u","event":"E","properties":{"audience_key":"k","k":true}}`, "track audience k in"},
		{"audience_key in traits", `{"type":"identify","userId":"u","traits":{"audience_key":"k","k":false}}`, "identify audience k out"},
		{"trait_key alone", `{"type":"track","userId":"u","event":"E","properties":{"trait_key":"k","k":1.50}}`, "track trait k silent k=1.50"},
		{"audience_key beside an object that names none", `{"type":"identify","userId":"u","traits":{"plan":"gold"},"properties":{"audience_key":"k","k":true}}`, "identify audience k in"},
		{"audience_key twice, the flag beside the second", `{"type":"identify","userId":"u","traits":{"audience_key":"k"},"properties":{"audience_key":"k","k":true}}`, "identify audience k in"},
		{"the properties are the whole body", `{"userId":"u","audience_key":"k","k":true}`, "track audience k in"},
		{"no type, properties", `{"userId":"u","properties":{"audience_key":"k","k":true}}`, "track audience k in"},
		{"no type, traits and a group", `{"userId":"u","groupId":"g","traits":{"audience_key":"k","k":true}}`, "group audience k in"},
		{"an ordinary event", `{"type":"track","userId":"u","event":"E","properties":{"k":true}}`, "track  silent"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := Read([]byte(c.raw), Reading{Received: received})
			if e.Fault != "" {
				t.Fatalf("fault %s: %s", e.Fault, e.Sentence)
			}
			if got := summary(e); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			compareWithReference(t, []byte(c.raw))
		})
	}
}

func summary(e *domain.Event) string {
	parts := []string{e.Call.String(), e.Class.String()}
	if e.Key != "" {
		parts = append(parts, e.Key)
	}
	parts = append(parts, [...]string{"silent", "in", "out"}[e.Flag])
	if e.PassThrough {
		parts = append(parts, "pass")
	}
	for _, c := range e.Columns {
		parts = append(parts, c.Name+"="+string(e.Bytes(c.Value)))
	}
	return strings.Join(parts, " ")
}

func TestTime(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	cases := []struct {
		name, fields string
		want         time.Time
	}{
		{"none", `"x":1`, received},
		{"originalTimestamp keeps nanoseconds", `"originalTimestamp":"2026-03-14T09:26:53.589734167Z","timestamp":"2026-03-14T09:26:53.589Z"`, at("2026-03-14T09:26:53.589734167Z")},
		{"timestamp where the other cannot be read", `"originalTimestamp":"yesterday","timestamp":"2026-03-14T09:26:53Z"`, at("2026-03-14T09:26:53Z")},
		{"an offset", `"timestamp":"2026-03-14T10:26:53+01:00"`, at("2026-03-14T09:26:53Z")},
		{"an offset without a colon", `"timestamp":"2026-03-14T10:26:53.5+0100"`, at("2026-03-14T09:26:53.5Z")},
		{"an hour of one digit", `"timestamp":"2026-03-14T9:26:53Z"`, at("2026-03-14T09:26:53Z")},
		{"an hour of one digit, without seconds", `"timestamp":"2026-03-14 9:26"`, at("2026-03-14T09:26:00Z")},
		{"a blank instead of T", `"timestamp":"2026-03-14 09:26:53"`, at("2026-03-14T09:26:53Z")},
		{"escaped", `"timestamp":"2026-03-14T09:26:53\u005a"`, at("2026-03-14T09:26:53Z")},
		{"a leap second", `"timestamp":"2016-12-31T23:59:60Z"`, at("2016-12-31T23:59:59.999999Z")},
		{"half of a leap second", `"timestamp":"2016-12-31T23:59:60.5Z"`, at("2016-12-31T23:59:59.9999995Z")},
		{"a leap second elsewhere", `"timestamp":"2017-01-01T05:29:60.25+0530"`, at("2016-12-31T23:59:59.99999925Z")},
		{"a leap minute", `"timestamp":"2016-12-31T23:60:00Z"`, received},
		{"in lower case", `"timestamp":"2026-03-14t09:26:53.589z"`, at("2026-03-14T09:26:53.589Z")},
		{"without seconds", `"timestamp":"2026-03-14T09:26Z"`, at("2026-03-14T09:26:00Z")},
		{"without seconds, far away", `"timestamp":"2026-03-14T10:26+01:00"`, at("2026-03-14T09:26:00Z")},
		{"without a zone", `"timestamp":"2026-03-14T09:26:53.589"`, at("2026-03-14T09:26:53.589Z")},
		{"without punctuation", `"timestamp":"20260314T092653.589Z"`, at("2026-03-14T09:26:53.589Z")},
		{"without punctuation and T", `"timestamp":"20260314092653"`, at("2026-03-14T09:26:53Z")},
		{"without punctuation and seconds", `"timestamp":"20260314T1026+0100"`, at("2026-03-14T09:26:00Z")},
		{"a comma for the point", `"timestamp":"2026-03-14T09:26:53,5Z"`, at("2026-03-14T09:26:53.5Z")},
		{"a colon before the Z", `"timestamp":"2026-03-14T09:26:53.589:Z"`, at("2026-03-14T09:26:53.589Z")},
		{"a colon for the point", `"timestamp":"2026-03-14T09:26:53:589Z"`, at("2026-03-14T09:26:53.589Z")},
		{"Arabic digits", `"timestamp":"٢٠٢٦-٠٣-١٤T٠٩:٢٦:٥٣٫٥٨٩Z"`, at("2026-03-14T09:26:53.589Z")},
		{"Persian digits", `"timestamp":"۲۰۲۶-۰۳-۱۴T۰۹:۲۶:۵۳Z"`, at("2026-03-14T09:26:53Z")},
		{"Devanagari digits", `"timestamp":"२०२६-०३-१४T०९:२६:५३Z"`, at("2026-03-14T09:26:53Z")},
		{"Chakma digits, beyond 16 bits", `"timestamp":"𑄸𑄶𑄸𑄼-𑄶𑄹-𑄷𑄺T𑄶𑄿:𑄸𑄼:𑄻𑄹Z"`, at("2026-03-14T09:26:53Z")},
		{"full width", `"timestamp":"２０２６－０３－１４Ｔ０９：２６：５３．５８９Ｚ"`, at("2026-03-14T09:26:53.589Z")},
		{"marks of direction", `"timestamp":"\u200f2026-03-14T09:26:53Z\u200e"`, at("2026-03-14T09:26:53Z")},
		{"blanks around", `"timestamp":" 2026-03-14T09:26:53Z\n"`, at("2026-03-14T09:26:53Z")},
		{"UTC by its name", `"timestamp":"2026-03-14 09:26:53 UTC"`, at("2026-03-14T09:26:53Z")},
		{"epoch seconds", `"timestamp":1773480413`, at("2026-03-14T09:26:53Z")},
		{"epoch seconds with a fraction", `"timestamp":1773480413.589`, at("2026-03-14T09:26:53.589Z")},
		{"epoch milliseconds", `"timestamp":1773480413589`, at("2026-03-14T09:26:53.589Z")},
		{"epoch milliseconds, as a double", `"timestamp":1.773480413589e12`, at("2026-03-14T09:26:53.589Z")},
		{"epoch milliseconds as text", `"originalTimestamp":"1773480413589"`, at("2026-03-14T09:26:53.589Z")},
		{"epoch seconds as text", `"originalTimestamp":"1773480413"`, at("2026-03-14T09:26:53Z")},
		{"zero", `"originalTimestamp":0,"timestamp":"2026-03-14T09:26:53Z"`, at("2026-03-14T09:26:53Z")},
		{"a huge number", `"timestamp":1e400`, received},
		{"a date alone", `"timestamp":"2026-03-14"`, received},
		{"February 30", `"timestamp":"2026-02-30T09:26:53Z"`, received},
		{"a zone by a name", `"timestamp":"2026-03-14T09:26:53 CET"`, received},
		{"half a number", `"timestamp":"17734804"`, received},
		{"an object", `"timestamp":{"$date":1773480413589}`, received},
		{"second 61", `"timestamp":"2016-12-31T23:59:61Z"`, received},
		{"year one", `"originalTimestamp":"0001-01-01T00:00:00Z","timestamp":"2026-03-14T09:26:53Z"`, at("2026-03-14T09:26:53Z")},
		{"before 1970 by its offset", `"timestamp":"1970-01-01T00:00:00+01:00"`, received},
		{"five minutes ahead is believed", `"timestamp":"2026-03-14T09:32:00Z"`, at("2026-03-14T09:32:00Z")},
		{"more is not", `"timestamp":"2026-03-14T09:32:00.000000001Z"`, received},
		{"the year 9999", `"timestamp":"9999-12-31T23:59:59-01:00"`, received},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := Read([]byte(`{"type":"track",`+c.fields+`}`), Reading{Received: received.In(time.FixedZone("far", 7200))})
			if !e.Time.Equal(c.want) || e.Time.Location() != time.UTC {
				t.Errorf("%v, want %v", e.Time, c.want)
			}
			if !e.Received.Equal(received) || e.Received.Location() != time.UTC {
				t.Errorf("received %v", e.Received)
			}
		})
	}
}

func TestIdentifiers(t *testing.T) {
	const id = `{"type":"identify","userId":%s,"anonymousId":%s,"messageId":%s}`
	cases := []struct{ user, anonymous, message, want string }{
		{`"u"`, `"a"`, `"m"`, "u a m"},
		{`12345678901234567890`, `1.50`, `1e3`, "12345678901234567890 1.5 1000"},
		{`48213.0`, `4.8213e4`, `48213.00`, "48213 48213 48213"},
		{`"   "`, `"\u00a0\u200b"`, `"\t"`, ""},
		{`" Ann@example.com\n"`, `"u\u0000nul"`, `"m"`, "Ann@example.com  m"},
		{`"a\ud83d"`, `"b\ude00"`, `"m"`, "  m"},
		{`1e400`, `"\u007f1"`, `"m"`, "  m"},
		{`""`, `null`, `"m"`, "  m"},
		{`"\u00fc\ud83d\ude00\""`, `{}`, `"m"`, "ü😀\"  m"},
		{`" u "`, `[]`, `"m"`, " u   m"},
		{`-0`, `true`, `"m"`, "0  m"},
	}
	for _, c := range cases {
		e := Read(fmt.Appendf(nil, id, c.user, c.anonymous, c.message), Reading{})
		got := e.User.ID + " " + e.Anonymous.ID + " " + e.MessageID
		if c.want == "" && strings.HasPrefix(got, "  raw_") {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s %s %s is read as %q, want %q", c.user, c.anonymous, c.message, got, c.want)
		}
	}
}

func TestWhereTheAddressIs(t *testing.T) {
	const both = `"traits":{"email":"own@x"},"context":{"traits":{"email":"context@x"}}`
	cases := []struct{ raw, want string }{
		{`{"type":"identify",` + both + `}`, "own@x"},
		{`{"type":"track",` + both + `}`, "context@x"},
		{`{"type":"group",` + both + `}`, "context@x"},
		{`{"type":"group","traits":{"email":"account@x"}}`, ""},
		{`{"type":"identify","traits":{"email":null},"context":{"traits":{"email":"context@x"}}}`, "context@x"},
		{`{"type":"identify","traits":{"email":"Ann.O@X.example"}}`, "Ann.O@X.example"},
		{`{"type":"track","properties":{"email":"of the order"}}`, ""},
	}
	for _, c := range cases {
		if e := Read([]byte(c.raw), Reading{}); e.Email.ID != c.want {
			t.Errorf("%s: %q, want %q", c.raw, e.Email.ID, c.want)
		}
	}
}

func TestAnEventWithoutMessageIDIsNamedByItsBytes(t *testing.T) {
	a := Read([]byte(`{"type":"track","userId":"u"}`), Reading{Received: received})
	b := Read([]byte(`{"type":"track","userId":"u"}`), Reading{Received: received.Add(time.Hour)})
	c := Read([]byte(`{"type":"track","userId":"v"}`), Reading{Received: received})
	if a.MessageID != b.MessageID || a.MessageID == c.MessageID {
		t.Errorf("%s, %s, %s", a.MessageID, b.MessageID, c.MessageID)
	}
	if len(a.MessageID) != len("raw_")+32 {
		t.Errorf("messageId %q", a.MessageID)
	}
	long := strings.Repeat("m", 257)
	if e := Read([]byte(`{"messageId":"`+long+`"}`), Reading{}); !strings.HasPrefix(e.MessageID, "raw_") {
		t.Errorf("257 bytes of messageId were kept: %q", e.MessageID)
	}
	if e := Read([]byte(`{"messageId":"`+long[:256]+`"}`), Reading{}); e.MessageID != long[:256] {
		t.Errorf("256 bytes of messageId became %q", e.MessageID)
	}
}

func TestTheVerdictOnAnIDStaysWithTheID(t *testing.T) {
	check := func(id string) string {
		if id == "null" {
			return "id_blocked"
		}
		return ""
	}
	e := Read([]byte(engaged("audience", `"type":"identify","anonymousId":"null","traits":{"k":true}`)), Reading{CheckID: check})
	if e.Fault != "" || e.User.Fault != "" || e.Anonymous.Fault != "id_blocked" {
		t.Errorf("fault %q, user %+v, anonymous %+v", e.Fault, e.User, e.Anonymous)
	}
}

func TestDeletes(t *testing.T) {
	raw := []byte(`{"type":"delete","userId":"u"}`)
	if e := Read(raw, Reading{Verified: true}); e.Fault != "" || e.Call != domain.CallDelete || e.User.ID != "u" {
		t.Errorf("a verified delete: %+v", e)
	}
	if e := Read(raw, Reading{Verified: true, Route: RouteTracking}); e.Fault != FaultUnverified {
		t.Errorf("a delete by write key: fault %q", e.Fault)
	}
	if e := Read([]byte(`{"type":"delete"}`), Reading{Verified: true}); e.Fault != FaultNoIdentifier {
		t.Errorf("a delete of nobody: fault %q", e.Fault)
	}
}

func TestTrackingRoutes(t *testing.T) {
	big := `{"type":"track","userId":"u","event":"E","x":"` + strings.Repeat("x", MaxEventBytes) + `"}`
	ofBytes := func(n int) string { // one event of that many bytes
		const head, tail = `{"type":"track","userId":"u","event":"E","x":"`, `"}`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	cases := []struct {
		name, raw string
		how       Reading
		fault     string
	}{
		{"as large as an event may be", ofBytes(MaxEventBytes), Reading{}, ""},
		{"a byte too large", ofBytes(MaxEventBytes + 1), Reading{}, FaultEventTooLarge},
		{"the path goes before the type", `{"type":"track","userId":"u"}`, Reading{Call: domain.CallIdentify}, ""},
		{"an item without a type", `{"userId":"u","traits":{}}`, Reading{}, FaultUnknownType},
		{"no one", `{"type":"page"}`, Reading{}, FaultNoUserAnonID},
		{"no one, in so many words", `{"type":"page","userId":"","anonymousId":null}`, Reading{}, FaultNoUserAnonID},
		{"blanks, which Segment's API does not refuse", `{"type":"page","userId":"  "}`, Reading{}, ""},
		{"an id that cannot be used, which it does not refuse", `{"type":"page","userId":"u\u0000"}`, Reading{}, ""},
		{"a membership of blanks", strings.Replace(engaged("audience", `"type":"identify","traits":{"k":true}`), `"u"`, `"  "`, 1), Reading{}, FaultNoIdentifier},
		{"no event name", `{"type":"track","userId":"u","event":""}`, Reading{}, FaultNoEventName},
		{"too large", big, Reading{}, FaultEventTooLarge},
		{"grown by what the batch shares", big, Reading{Size: 100}, ""},
		{"an audience_key is ordinary here", `{"type":"track","userId":"u","event":"E","properties":{"audience_key":"k"}}`, Reading{}, ""},
		{"personas count here", engaged("audience", `"type":"track","event":"E","properties":{}`), Reading{}, FaultUndetermined},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.how.Route = RouteTracking
			e := Read([]byte(c.raw), c.how)
			if e.Fault != c.fault {
				t.Errorf("fault %q (%s), want %q", e.Fault, e.Sentence, c.fault)
			}
		})
	}
	e := Read([]byte(`{"type":"track","userId":"u","event":"E","properties":{"audience_key":"k","k":true}}`), Reading{Route: RouteTracking})
	if e.Class != domain.ClassNone {
		t.Errorf("class %v without personas", e.Class)
	}
}

func TestSentencesTellNoOneWhoItIs(t *testing.T) {
	raw := strings.Replace(engaged("audience", `"type":"identify","traits":{"k":"secret-value","email":"ann@example.com"}`), `"u"`, `"usr_ann"`, 1)
	e := Read([]byte(raw), Reading{})
	for _, private := range []string{"usr_ann", "ann@", "secret-value"} {
		if strings.Contains(e.Sentence, private) {
			t.Errorf("%q is in %q", private, e.Sentence)
		}
	}
}

// A fault names the kind of the wrong value, not its content, which may be personal.
func TestASentenceSaysWhatStandsWhereAnotherValueBelongs(t *testing.T) {
	for value, want := range map[string]string{
		`450.5`:          "a number",
		`-1`:             "a number",
		`null`:           "null",
		`["ann"]`:        "an array",
		`{"name":"ann"}`: "an object",
		`"ann"`:          "a text",
	} {
		e := Read([]byte(engaged("audience", `"type":"identify","traits":{"k":`+value+`}`)), Reading{})
		if e.Fault != FaultUndetermined || !strings.Contains(e.Sentence, " is "+want+"; it must be true or false") {
			t.Errorf("%s: %s: %q, want it to be called %s", value, e.Fault, e.Sentence, want)
		}
		if strings.Contains(e.Sentence, "ann") || strings.Contains(e.Sentence, "450") {
			t.Errorf("the value is in %q", e.Sentence)
		}
	}
	for event, want := range map[string]string{`true`: "true or false", ` 7 `: "a number", `[1]`: "an array"} {
		if e := Read([]byte(event), Reading{}); e.Fault != FaultNotAnObject || !strings.Contains(e.Sentence, "this one is "+want) {
			t.Errorf("%s: %s: %q, want it to be called %s", event, e.Fault, e.Sentence, want)
		}
	}
}

func TestATimeThatCannotBeReadIsSaid(t *testing.T) {
	cases := []struct {
		name, fields string
		want         domain.TimeSource
		odd          string // field and spelling, + if it could be parsed
	}{
		{"its own", `"timestamp":"2026-03-14T09:26:53Z"`, domain.TimeOwn, ""},
		{"lower case is RFC 3339", `"timestamp":"2026-03-14t09:26:53z"`, domain.TimeOwn, ""},
		{"none", `"timestamp":null,"originalTimestamp":""`, domain.TimeNone, ""},
		{"a word", `"timestamp":"yesterday at ann@example.com"`, domain.TimeUnreadable, "timestamp=aaaaaaaaa aa aaa@aaaaaaa.aaa"},
		{"a zero value", `"originalTimestamp":"0001-01-01T00:00:00Z"`, domain.TimeUnreadable, "originalTimestamp=0000-00-00T00:00:00Z"},
		{"the year 10000 of UTC", `"timestamp":"9999-12-31T23:59:59-01:00"`, domain.TimeUnreadable, "timestamp=0000-00-00T00:00:00-00:00"},
		{"the last second of 9999", `"timestamp":"9999-12-31T23:59:59Z"`, domain.TimeAhead, ""},
		{"an object", `"timestamp":{"a":"ann@example.com"}`, domain.TimeUnreadable, "timestamp=an object"},
		{"control characters", `"timestamp":"a\u0000\nb"`, domain.TimeUnreadable, "timestamp=a??a"},
		{"a long text", `"timestamp":"` + strings.Repeat("1", 500) + `"`, domain.TimeUnreadable, "timestamp=" + strings.Repeat("0", 40)},
		{"the other one", `"originalTimestamp":"28.11.2026","timestamp":"2026-03-14T09:26:53Z"`, domain.TimeSecond, "originalTimestamp=00.00.0000"},
		{"neither", `"originalTimestamp":"28.11.2026","timestamp":"Sat Nov 28"`, domain.TimeUnreadable, "originalTimestamp=00.00.0000 timestamp=aaa aaa 00"},
		{"a guess", `"timestamp":"٢٠٢٦-٠٣-١٤T٠٩:٢٦:٥٣Z"`, domain.TimeOwn, "timestamp=٠٠٠٠-٠٠-٠٠T٠٠:٠٠:٠٠Z+"},
		{"a year of another calendar", `"timestamp":"2569-03-14T09:26:53Z"`, domain.TimeAhead, ""},
		{"a colon before the fraction", `"timestamp":"2026-03-14T09:26:53:589Z"`, domain.TimeOwn, "timestamp=0000-00-00T00:00:00:000Z+"},
		{"a colon before the zone", `"timestamp":"2026-03-14T09:26:53:Z"`, domain.TimeOwn, "timestamp=0000-00-00T00:00:00:Z+"},
		{"a comma before the fraction", `"timestamp":"2026-03-14T09:26:53,589Z"`, domain.TimeOwn, ""},
		{"seconds", `"timestamp":1773480413`, domain.TimeOwn, "timestamp=0000000000+"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var odd []string
			e := Read([]byte(`{"type":"track",`+c.fields+`}`), Reading{Received: received, OddTime: func(o OddTime) {
				said := o.Field + "=" + o.Spelling
				if o.Read {
					said += "+"
				}
				odd = append(odd, said)
			}})
			if got := strings.Join(odd, " "); e.TimeSource != c.want || got != c.odd {
				t.Errorf("%q %q", e.TimeSource, got)
			}
		})
	}
}

func TestAnArrayWithoutTimesKeepsItsOrder(t *testing.T) {
	var last time.Time
	for i, fields := range []string{`"x":1`, `"timestamp":"never"`, `"timestamp":"2126-03-14T09:26:53Z"`} {
		e := Read([]byte(`{`+fields+`}`), Reading{Received: received, Position: i})
		if i > 0 && !e.Time.After(last) || e.Time.Sub(received) > time.Microsecond {
			t.Errorf("event %d is of %v, the one before of %v", i, e.Time, last)
		}
		last = e.Time
	}
}

// With a client's clock an hour ahead, an event two minutes before sentAt happened two minutes before the
// receipt.
func TestSentAtCorrectsTheClockOfAClient(t *testing.T) {
	const event = `{"userId":"ann","timestamp":"2026-03-14T10:25:00Z"%s}`
	sent := time.Date(2026, 3, 14, 10, 27, 0, 0, time.UTC)
	cases := []struct {
		name, fields string
		how          Reading
		want         time.Time
		source       domain.TimeSource
	}{
		{"in the event", `,"sentAt":"2026-03-14T10:27:00Z"`, Reading{Route: RouteTracking}, received.Add(-2 * time.Minute), domain.TimeOwn},
		{"of the batch", ``, Reading{Route: RouteTracking, SentAt: sent}, received.Add(-2 * time.Minute), domain.TimeOwn},
		{"of the batch before an older one", `,"sentAt":"2020-03-14T10:27:00Z"`, Reading{Route: RouteTracking, SentAt: sent}, received.Add(-2 * time.Minute), domain.TimeOwn},
		{"as milliseconds", `,"sentAt":1773484020000`, Reading{Route: RouteTracking}, received.Add(-2 * time.Minute), domain.TimeOwn},
		{"with originalTimestamp", `,"originalTimestamp":"2026-03-14T10:26:00.000000001Z","sentAt":"2026-03-14T10:27:00Z"`, Reading{Route: RouteTracking}, received.Add(1 - time.Minute), domain.TimeOwn},
		{"null, as Engage has it", `,"sentAt":null`, Reading{Route: RouteTracking}, received, domain.TimeAhead},
		{"unreadable", `,"sentAt":"soon"`, Reading{Route: RouteTracking}, received, domain.TimeUncorrected},
		{"of the batch, unreadable", ``, Reading{Route: RouteTracking, SentAtUnreadable: true}, received, domain.TimeUncorrected},
		{"kept for a year and posted again", `,"sentAt":"2025-03-14T10:27:00Z"`, Reading{Route: RouteTracking}, received, domain.TimeAhead},
		{"absurd", `,"sentAt":"9999-03-14T10:27:00Z"`, Reading{Route: RouteTracking}, received, domain.TimeAhead},
		{"on the webhook route, where Segment has used it", `,"sentAt":"2026-03-14T10:27:00Z"`, Reading{}, received, domain.TimeAhead},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.how.Received = received
			e := Read(fmt.Appendf(nil, event, c.fields), c.how)
			if !e.Time.Equal(c.want) || e.TimeSource != c.source {
				t.Errorf("%v %q, want %v", e.Time, e.TimeSource, c.want)
			}
			if e.ClockShift != 0 {
				again := c.how
				again.SentAt = e.Received.Add(-e.ClockShift)
				if e2 := Read(e.Raw, again); !e2.Time.Equal(e.Time) {
					t.Errorf("read again, it is of %v", e2.Time)
				}
			}
		})
	}
}

func TestABatchSaysWhenItWasSent(t *testing.T) {
	for body, want := range map[string]string{
		`{"batch":[],"sentAt":"2026-03-14T10:27:00Z"}`:  "2026-03-14T10:27:00Z false",
		`{"batch":[],"sentAt":"2026-03-14T10:27:00:Z"}`: "2026-03-14T10:27:00Z false",
		`{"batch":[],"sentAt":null}`:                    "0001-01-01T00:00:00Z false",
		`{"batch":[]}`:                                  "0001-01-01T00:00:00Z false",
		`{"batch":[],"sentAt":"soon"}`:                  "0001-01-01T00:00:00Z true",
	} {
		b, err := ParseBatch([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		at, unreadable := b.SentAt(nil)
		if got := fmt.Sprint(at.Format(time.RFC3339), " ", unreadable); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

// Two messages with half a surrogate pair in their ids had become one, so the second was dropped as a repeat.
func TestMessagesWithHalfACharacterStayTwo(t *testing.T) {
	a := Read([]byte(`{"type":"track","userId":"u","messageId":"m\ud83d"}`), Reading{Received: received})
	b := Read([]byte(`{"type":"track","userId":"u","messageId":"m\ud83e"}`), Reading{Received: received})
	if a.MessageID == b.MessageID {
		t.Errorf("both are %q", a.MessageID)
	}
}

// A number beyond a double, or a column name with half a surrogate pair, had parked the whole event for good.
func TestAMembershipIsNotLostForAnUnrelatedValue(t *testing.T) {
	for _, tt := range []struct {
		name    string
		event   string
		flag    domain.Flag
		columns []string
		leftOut []string
	}{
		{"beside a membership", engaged("audience", `"type":"identify","traits":{"k":true,"score":1e400,"ok":1}`), domain.FlagIn, nil, []string{"score"}},
		{"beside a false", engaged("audience", `"type":"track","event":"E","properties":{"score":-1e309,"k":false}`), domain.FlagOut, nil, []string{"score"}},
		{"far inside", engaged("audience", `"type":"track","event":"E","properties":{"k":true,"x":[{"y":-1e309}],"z":1}`), domain.FlagIn, nil, []string{"x"}},
		{"several", engaged("journey_step", `"type":"track","event":"E","properties":{"a":1e400,"k":true,"b":`+strings.Repeat("9", 400)+`}`), domain.FlagIn, nil, []string{"a", "b"}},
		{"beside a flag in a text", engaged("audience", `"type":"identify","traits":{"k":"true","\u0061":1e999}`), domain.FlagIn, nil, []string{"a"}},
		{"the last of one name counts", engaged("audience", `"type":"identify","traits":{"k":true,"a":1e400,"a":1}`), domain.FlagIn, nil, nil},
		{"the last of one name is bad", engaged("audience", `"type":"identify","traits":{"k":true,"a":1,"a":1e400}`), domain.FlagIn, nil, []string{"a"}},
		{"beside a trait", engaged("trait", `"type":"identify","traits":{"k":5,"other":1e400}`), 0, []string{"k"}, []string{"other"}},
		{"a column of several", engaged("trait", `"type":"identify","traits":{"a":5,"b":1e400,"c":6}`), 0, []string{"a", "c"}, []string{"b"}},
		{"a column named by half a character", engaged("trait", `"type":"identify","traits":{"a":5,"b\ud83d":1}`), 0, []string{"a"}, []string{"b\ufffd"}},
		{"a trait named by half a character", engaged("audience", `"type":"identify","traits":{"k":true,"b\ud83d":1}`), domain.FlagIn, nil, []string{"b\ufffd"}},
		{"a name that begins with half a character", engaged("trait", `"type":"identify","traits":{"a":5,"\ud83d":1}`), 0, []string{"a"}, []string{"\ufffd"}},
		{"a pair is a character", engaged("audience", `"type":"identify","traits":{"k":true,"b\ud83d\ude00":1}`), domain.FlagIn, nil, nil},
		{"a property gets a name as it leaves", engaged("audience", `"type":"track","event":"E","properties":{"k":true,"b\ud83d":1}`), domain.FlagIn, nil, nil},
		{"without personas", `{"userId":"u","audience_key":"k","k":true,"score":1e400}`, domain.FlagIn, nil, []string{"score"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := Read([]byte(tt.event), Reading{Received: received})
			var columns, leftOut []string
			for _, c := range e.Columns {
				columns = append(columns, c.Name)
			}
			for _, c := range e.LeftOut {
				leftOut = append(leftOut, c.Name)
			}
			if e.Fault != "" || e.Flag != tt.flag || !slices.Equal(columns, tt.columns) || !slices.Equal(leftOut, tt.leftOut) {
				t.Errorf("fault %q, flag %d, columns %q, left out %q; want flag %d, columns %q, left out %q", e.Fault, e.Flag, columns, leftOut, tt.flag, tt.columns, tt.leftOut)
			}
		})
	}
}

// A name with half a surrogate pair decodes like a key that ends in U+FFFD. Its value had been taken for the
// membership.
func TestANameWithHalfACharacterIsNotTheKey(t *testing.T) {
	event := strings.Replace(engaged("audience", `"type":"identify","traits":{"k\ufffd":true,"k\ud83d":false}`), `"computation_key":"k"`, `"computation_key":"k\ufffd"`, 1)
	if e := Read([]byte(event), Reading{Received: received}); e.Fault != "" || e.Flag != domain.FlagIn {
		t.Errorf("fault %q, flag %d", e.Fault, e.Flag)
	}
}

// After the clock was set back, an event without a time gets the latest time that the clock showed.
func TestLatestReplacesTheReceipt(t *testing.T) {
	latest := received.Add(time.Hour)
	for name, c := range map[string]struct {
		fields string
		latest time.Time
		want   time.Time
	}{
		"no time":                         {``, latest, latest},
		"no time, and the clock is right": {``, time.Time{}, received},
		"latest before the receipt":       {``, received.Add(-time.Hour), received},
		"a time between the two":          {`"timestamp":"` + received.Add(30*time.Minute).Format(time.RFC3339Nano) + `"`, latest, received.Add(30 * time.Minute)},
		"up to five minutes after it":     {`"timestamp":"` + latest.Add(5*time.Minute).Format(time.RFC3339Nano) + `"`, latest, latest.Add(5 * time.Minute)},
		"more than five minutes after it": {`"timestamp":"` + latest.Add(5*time.Minute+1).Format(time.RFC3339Nano) + `"`, latest, latest},
	} {
		if e := Read([]byte(`{`+c.fields+`}`), Reading{Received: received, Latest: c.latest}); !e.Time.Equal(c.want) || !e.Received.Equal(received) {
			t.Errorf("%s: %s, want %s; received %s", name, e.Time, c.want, e.Received)
		}
	}
}

func TestTimesThatLookRight(t *testing.T) {
	for text, want := range map[string]string{
		"２０２６－０３－１４Ｔ０９：２６：５３Ｚ":           "2026-03-14T09:26:53Z", // full width
		"2026−03−14T09:26:53٫5Z":         "2026-03-14T09:26:53.5Z",
		"\u200e2026-03-14T09:26:53Z":     "2026-03-14T09:26:53Z",
		"2026-03-14T09:26:53+05:30":      "2026-03-14T03:56:53Z",
		"2026-03-14T09:26:53-0530":       "2026-03-14T14:56:53Z",
		"2026-03-14T09:26:53+23:59":      "2026-03-13T09:27:53Z",
		"2026-03-14T09:26:53+2400":       "",
		"2026-03-14T09:26:53+0560":       "",
		"2026-03-14T09:26:53+5":          "",
		"20260314T092653Z":               "2026-03-14T09:26:53Z",
		"202603140926":                   "2026-03-14T09:26:00Z",
		"2026-0314T09:26:53Z":            "",
		"202603-14T09:26:53Z":            "",
		"2026-03-14":                     "",
		"2026-03-14T24:00:00Z":           "",
		"2026-03-14T23:60:00Z":           "",
		"2026-03-14T23:59:61Z":           "",
		"2026-03-14T23:59:59.999999999Z": "2026-03-14T23:59:59.999999999Z",
		"2026-02-29T00:00:00Z":           "",
		"2028-02-29T00:00:00Z":           "2028-02-29T00:00:00Z",
		"2026-13-01T00:00:00Z":           "",
		"2026-00-01T00:00:00Z":           "",
		"1970-01-01T00:00:00Z":           "1970-01-01T00:00:00Z",
		"1969-12-31T23:59:59Z":           "",
		"1773480413":                     "2026-03-14T09:26:53Z",
		"1773480413.25":                  "2026-03-14T09:26:53.25Z",
		"1773480413589":                  "2026-03-14T09:26:53.589Z",
		"1773480413589.5":                "2026-03-14T09:26:53.5895Z",
		"1.773480413589e12":              "2026-03-14T09:26:53.589Z",
		"17734804135":                    "",
		"177348041":                      "",
		"0773480413":                     "",
		"1e9":                            "2001-09-09T01:46:40Z",
		"9e8":                            "",
		"1e13":                           "",
	} {
		e := Read([]byte(`{"timestamp":"`+text+`"}`), Reading{Received: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)})
		got := ""
		if e.TimeSource == domain.TimeOwn || e.TimeSource == domain.TimeSecond {
			got = e.Time.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%s: %q (%s), want %q", text, got, e.TimeSource, want)
		}
	}
}

// TestATimeThatIsCutShortIsNotATime, unless it is a whole one without seconds, or with fewer digits.
func TestATimeThatIsCutShortIsNotATime(t *testing.T) {
	for text, whole := range map[string]map[int]string{
		"2026-03-14T09:26:53.58Z": {16: "2026-03-14T09:26:00Z", 19: "2026-03-14T09:26:53Z", 21: "2026-03-14T09:26:53.5Z", 22: "2026-03-14T09:26:53.58Z"},
		"2026-03-14T9:26:53Z":     {15: "2026-03-14T09:26:00Z", 18: "2026-03-14T09:26:53Z"},
		"20260314T092653Z":        {13: "2026-03-14T09:26:00Z", 15: "2026-03-14T09:26:53Z"},
	} {
		for n := 1; n < len(text); n++ {
			e := Read([]byte(`{"timestamp":"`+text[:n]+`"}`), Reading{Received: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)})
			got := ""
			if e.TimeSource == domain.TimeOwn || e.TimeSource == domain.TimeSecond {
				got = e.Time.Format(time.RFC3339Nano)
			}
			if want := whole[n]; got != want && (want != "" || n < 16) {
				t.Errorf("%s: %q (%s), want %q", text[:n], got, e.TimeSource, want)
			}
		}
	}
}

func TestTextsThatAreNotJSON(t *testing.T) {
	for _, raw := range []string{`{"a":"\`, `{"a":"\u00e`, `{"a":"\x"}`, `{"a":"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a":01}`, `{"a":1.}`, `{"a":1e}`, `{"a":-}`, `{"a":tru}`, `{"a":[1}`, "{\"a\":\"\n\"}"} {
		if e := Read([]byte(raw), Reading{}); e.Fault != FaultInvalidJSON || e.MessageID != nameless([]byte(raw)) {
			t.Errorf("%q: %q, id %q", raw, e.Fault, e.MessageID)
		}
	}
}
