package payload

import (
	"bytes"
	"encoding/json"
	"iter"
)

// validJSON reports whether raw is one JSON value. It recognises memberships, the most common values, without a
// parser.
func validJSON(raw []byte) bool {
	switch string(raw) {
	case "true", "false":
		return true
	}
	return json.Valid(raw)
}

// IsNull reports whether raw is null. An empty raw is not null, because it is not JSON.
func IsNull(raw []byte) bool {
	return len(raw) >= 4 && (string(raw) == "null" || string(bytes.TrimSpace(raw)) == "null")
}

// unquote returns the text of a JSON string. Nearly none has an escape.
func unquote(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(inner)
	}
	return s
}

// members yields the members of a JSON object: each key with its quotes, each value trimmed. raw must be valid
// JSON and begin with a brace. The results share its memory.
func members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for i := skipSpace(raw, 1); raw[i] != '}'; {
			end := skipValue(raw, i)
			key := raw[i:end]
			i = skipSpace(raw, skipSpace(raw, end)+1) // skip the colon
			end = skipValue(raw, i)
			if !yield(key, raw[i:end]) {
				return
			}
			i = skipComma(raw, end)
		}
	}
}

// elements yields the elements of a JSON array, under the same conditions as members.
func elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		for i := skipSpace(raw, 1); raw[i] != ']'; {
			end := skipValue(raw, i)
			if !yield(raw[i:end]) {
				return
			}
			i = skipComma(raw, end)
		}
	}
}

func skipSpace(raw []byte, i int) int {
	for raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r' {
		i++
	}
	return i
}

func skipComma(raw []byte, i int) int {
	i = skipSpace(raw, i)
	if raw[i] == ',' {
		i = skipSpace(raw, i+1)
	}
	return i
}

// skipValue returns the index after the value that begins at i.
func skipValue(raw []byte, i int) int {
	depth := 0
	for ; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = skipString(raw, i)
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\n', '\t', '\r':
			continue
		default:
			i = skipScalar(raw, i)
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

// skipString returns the index of the closing quote of the string that begins at i.
func skipString(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i
}

// skipScalar returns the index of the last byte of the number or word that begins at i.
func skipScalar(raw []byte, i int) int {
	for i+1 < len(raw) && !bytes.ContainsRune([]byte(",:]} \n\t\r"), rune(raw[i+1])) {
		i++
	}
	return i
}
