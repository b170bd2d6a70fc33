package domain

import (
	"encoding/json"
	"math/big"
	"testing"
	"unicode/utf8"
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
		if SameValue([]byte(c.a), []byte(c.b)) != c.want || SameValue([]byte(c.b), []byte(c.a)) != c.want {
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
		if got := PlainNumber(number); got != want {
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
		if got := string(WellFormed([]byte(text))); got != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, s := range []string{`450.0`, `"\ud83d"`, `{"a":[1e5,"\u00e9"]}`, `-0`, `1e-400`, `0e63333333333333333333`} {
		f.Add([]byte(s), []byte(`450`))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		well := WellFormed(a)
		if json.Valid(a) != json.Valid(well) || LoneSurrogate(well) >= 0 && json.Valid(a) {
			t.Fatalf("%q became %q", a, well)
		}
		if !SameValue(a, a) || SameValue(a, b) != SameValue(b, a) {
			t.Fatalf("%q and %q are compared in two ways", a, b)
		}
		var n json.Number
		if json.Unmarshal(a, &n) != nil || a[0] == '"' || len(a) > 30 || !utf8.Valid(a) {
			return
		}
		plain := PlainNumber(string(n))
		if plain == "" {
			return
		}
		x, ok1 := new(big.Rat).SetString(string(n))
		if !ok1 {
			x = new(big.Rat) // big.Rat reads no such exponent; only a zero has a plain form with it
		}
		y, ok2 := new(big.Rat).SetString(plain)
		if !ok2 || x.Cmp(y) != 0 || !SameValue([]byte(n), []byte(plain)) {
			t.Fatalf("%s became %s", n, plain)
		}
	})
}

// TestComparingValuesAllocatesNothingAsARule: every event of a trait is compared.
func TestComparingValuesAllocatesNothingAsARule(t *testing.T) {
	for _, c := range [][2]string{{`true`, `false`}, {`450`, `451`}, {`"gold"`, `"silver"`}, {`["a","b"]`, `["a","c"]`}, {`-17`, `"x"`}, {`{"a":1}`, `{"a":1}`}} {
		a, b := []byte(c[0]), []byte(c[1])
		if n := testing.AllocsPerRun(100, func() { SameValue(a, b) }); n != 0 {
			t.Errorf("comparing %s with %s allocates %v times", a, b, n)
		}
	}
}
