package store

import (
	"crypto/sha256"
	"encoding/json"
	"math/big"
	"testing"
	"unicode/utf8"

	"personasync/store/domain"
)

func TestValuesAreComparedAsValues(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`450`, `450.0`, true}, {`450`, `4.5e2`, true}, {`450`, `4.5E+02`, true}, {`450`, `451`, false}, {`450`, `-450`, false},
		{`0`, `-0.0e9`, true}, {`0.1`, `1e-1`, true}, {`0.1`, `0.10000000000000001`, false},
		{`9007199254740993`, `9007199254740992`, false}, {`12345678901234567890123`, `12345678901234567890123.0`, true},
		{`1e999999999999`, `1e999999999998`, true}, // beyond all bounds
		{`1e1000000`, `10e999999`, true}, {`450`, `"450"`, false}, {`true`, `"true"`, false}, {`null`, `0`, false},
		{`"é"`, `"\u00e9"`, true}, {`"é"`, `"e"`, false}, {`"a"`, `"b"`, false}, {`"\/"`, `"/"`, true},
		{`[450, {"a":1,"b":2.0}]`, `[450.0,{"b":2,"a":1}]`, true}, {`[1,2]`, `[2,1]`, false}, {`[1]`, `[1,1]`, false},
		{`{"a":[1,{"c":"é","b":[1.0,-0]}]}`, ` { "a" : [ 1e0 , {"b":[1,0],"c":"\u00e9"} ] } `, true}, {`["a\\"]`, `["a\u005c"]`, true}, {`["a","b"]`, `["a\",\"b"]`, false},
		{`{"a":1,"b":2}`, `{"a":{"b":2}}`, false}, {`[]`, `[ ]`, true}, {`[[],1]`, `[1,[]]`, false}, {`[true,1e2]`, `[true,100]`, true}, {`1e21`, `1000000000000000000000`, true},
		{`0.5`, `"0.5"`, false}, {`["1e2"]`, `["100"]`, false}, {`{"a":1,"a":2}`, `{"a":2}`, true}, {`[-0]`, `[0]`, true}, {`-12`, `-12.0`, true},
		{`{"a":null}`, `{}`, false}, {`{"a":null}`, `{"b":null}`, false}, {`{}`, `[]`, false}, {``, `1`, false},
	} {
		if domain.SameValue([]byte(c.a), []byte(c.b)) != c.want || domain.SameValue([]byte(c.b), []byte(c.a)) != c.want {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.want)
		}
	}
}

func TestPlainNumbers(t *testing.T) {
	for number, want := range map[string]string{
		"48213": "48213", "48213.0": "48213", "4.8213e4": "48213", "482130E-1": "48213", "12345678901234567890123": "12345678901234567890123",
		"1.50": "1.5", "-0": "0", "-0.0": "0", "-7.0": "-7", "0.25": "0.25", "25e-3": "0.025", "1e20": "100000000000000000000",
		"1e400": "", "1e-9": "", "1.2345678901234567890123": "",
	} {
		if got := domain.PlainNumber(number); got != want {
			t.Errorf("%s is %q, want %q", number, got, want)
		}
	}
}

func TestHalvesOfPairsAreFoundAndReplaced(t *testing.T) {
	for text, want := range map[string]string{
		`"caf\u00e9 \ud83d"`: `"caf\u00e9 \ufffd"`, `"\ud83d\ude00"`: `"\ud83d\ude00"`, `"\ude00\ud83d"`: `"\ufffd\ufffd"`,
		`"\\ud83d"`: `"\\ud83d"`, `"\\\ud83d"`: `"\\\ufffd"`, `"\ud83d\n\ude00"`: `"\ufffd\n\ufffd"`, `"\uD83Dx"`: `"\ufffdx"`,
		`"\ud83d\ud83d\ude00"`: `"\ufffd\ud83d\ude00"`, `{"a\ud83d":["\udfff"]}`: `{"a\ufffd":["\ufffd"]}`, `"plain"`: `"plain"`,
	} {
		if got := string(domain.WellFormed([]byte(text))); got != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, s := range []string{`450.0`, `"\ud83d"`, `{"a":[1e5,"\u00e9"]}`, `-0`, `1e-400`} {
		f.Add([]byte(s), []byte(`450`))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		well := domain.WellFormed(a)
		if json.Valid(a) != json.Valid(well) || domain.LoneSurrogate(well) >= 0 && json.Valid(a) {
			t.Fatalf("%q became %q", a, well)
		}
		if !domain.SameValue(a, a) || domain.SameValue(a, b) != domain.SameValue(b, a) {
			t.Fatalf("%q and %q are compared in two ways", a, b)
		}
		var n json.Number
		if json.Unmarshal(a, &n) != nil || a[0] == '"' || len(a) > 30 || !utf8.Valid(a) {
			return
		}
		plain := domain.PlainNumber(string(n))
		if plain == "" {
			return
		}
		x, ok1 := new(big.Rat).SetString(string(n))
		y, ok2 := new(big.Rat).SetString(plain)
		if !ok1 || !ok2 || x.Cmp(y) != 0 || !domain.SameValue([]byte(n), []byte(plain)) {
			t.Fatalf("%s became %s", n, plain)
		}
	})
}

func TestANumberSpelledInAnotherWayIsNoNews(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	for minute, value := range []string{"450", "450.0", "4.5e2", "[1,450]", "[1, 450.0]", "450.00"} {
		b.receive(trait("ann", "spent", minute, "spent", value))
		b.drain()
	}
	b.wantSaid("ann.spent=450 ann!Trait Computed ann.spent=[1,450] ann!Trait Computed ann.spent=450.00 ann!Trait Computed")
	if e := b.balance().Events; e.Transitions != 3 || e.Unchanged != 3 {
		t.Errorf("%+v", e)
	}
	b.receive(trait("bob", "spent", 0, "spent", "450"), trait("bob", "spent", 0, "spent", "450.0"))
	if e := b.balance().Events; e.Duplicate != 1 {
		t.Errorf("%+v", e)
	}
}

func TestTheNetDifferenceIsOneOfValues(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(trait("ann", "spent", 0, "spent", "450"))
	b.drain()
	b.receive(trait("ann", "spent", 1, "spent", "451"), trait("ann", "spent", 2, "spent", "450.0"))
	b.drain()
	b.wantSaid("ann.spent=450")
}

// TestAnArraySpelledInAnotherWayIsNotSentAgain: of a value too long to keep twice a digest of its bytes was kept, so
// that another spelling of what MoEngage knows was sent to it again.
func TestAnArraySpelledInAnotherWayIsNotSentAgain(t *testing.T) {
	for name, values := range map[string][3]string{
		"blanks":             {`["shoes","hats","gloves"]`, `["shoes"]`, `[ "shoes", "hats",   "gloves" ]`},
		"shorter than kept":  {`[ 1, 2, 3, 4, 5, 6 ]`, `[1]`, `[1,2,3,4,5,6]`},
		"longer than kept":   {`[1,2,3,4,5,6]`, `[1]`, `[ 1, 2, 3, 4, 5, 6 ]`},
		"numbers inside":     {`["shoes","hats",450]`, `[1]`, `["shoes","hats",4.50e2]`},
		"escapes":            {`["caf\u00e9 au lait","hats"]`, `[1]`, `["café au lait","\u0068ats"]`},
		"order of members":   {`{"first":1,"second":{"b":2,"a":[3.0]}}`, `1`, `{"second":{"a":[3],"b":2},"first":1}`},
		"a text":             {`"Straße der Nationen 12\/14"`, `1`, `"Stra\u00dfe der Nationen 12/14"`},
		"a number of digits": {`0.12345678901234567890`, `1`, `12345678901234567890e-20`},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			b.receive(trait("ann", "spent", 0, "spent", values[0]))
			b.drain()
			b.receive(trait("ann", "spent", 1, "spent", values[1]), trait("ann", "spent", 2, "spent", values[2]))
			b.drain()
			b.wantSaid("ann.spent=" + values[0])
			b.balance()
		})
	}
}

// TestADigestOfAnOlderVersionIsKnown: it was taken of the text as it came.
func TestADigestOfAnOlderVersionIsKnown(t *testing.T) {
	text := []byte(`[ "shoes", "hats", "gloves" ]`)
	sum := sha256.Sum256(text)
	if !(lastSent{digestSent, sum[:16]}).is(text) {
		t.Error("what MoEngage was told would be sent again")
	}
}

// TestComparingValuesAllocatesNothingAsARule: every event of a trait is compared.
func TestComparingValuesAllocatesNothingAsARule(t *testing.T) {
	for _, c := range [][2]string{{`true`, `false`}, {`450`, `451`}, {`"gold"`, `"silver"`}, {`["a","b"]`, `["a","c"]`}, {`-17`, `"x"`}, {`{"a":1}`, `{"a":1}`}} {
		a, b := []byte(c[0]), []byte(c[1])
		if n := testing.AllocsPerRun(100, func() { domain.SameValue(a, b) }); n != 0 {
			t.Errorf("comparing %s with %s allocates %v times", a, b, n)
		}
	}
}
