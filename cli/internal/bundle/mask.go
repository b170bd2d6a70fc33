package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// gap stands for the omitted text.
const gap = "•"

// mask replaces secrets, should one stand where none is expected.
type mask struct{ forms [][]byte }

// shortestSecret is the length below which a secret would be found in ordinary words.
const shortestSecret = 4

// newMask returns a mask of secrets in plain, quoted, percent-encoded, base64 and hexadecimal form.
func newMask(secrets []string) *mask {
	m := &mask{}
	for _, s := range secrets {
		if len(s) < shortestSecret {
			continue
		}
		quoted, _ := json.Marshal(s)
		forms := []string{s, strings.Trim(string(quoted), `"`), url.QueryEscape(s), url.PathEscape(s), hex.EncodeToString([]byte(s))}
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for shift := range 3 { // where it stands in the encoded text decides its form
				text := e.EncodeToString(append(make([]byte, shift), s...))
				forms = append(forms, text[(shift*8+5)/6:len(text)-1])
			}
		}
		for _, f := range forms {
			m.forms = append(m.forms, []byte(f))
		}
	}
	return m
}

func (m *mask) apply(text []byte) []byte {
	for _, f := range m.forms {
		text = bytes.ReplaceAll(text, f, []byte(gap))
	}
	return text
}

// foreign are parts of our own sentences that may repeat a value from outside: an e-mail address, quoted text other than a
// path, a word with letters beyond ASCII, percent-encoded text, a long number, a long token.
var foreign = pattern(`[^\s"'=<>,;:]*@[^\s"'=<>,;]+` +
	`|"[^"/][^"]*"|'[^'/][^']*'` +
	`|[^\s]*[^\x00-\x7f…–→•][^\s]*` +
	`|[^\s]*%[0-9A-Fa-f]{2}[^\s]*` +
	`|\b[0-9]{6,}\b` +
	`|\b[A-Za-z0-9_+=-]{24,}\b`)

// mild leaves out of a sentence of ours what may be a value from outside.
func mild(text string) string { return foreign().ReplaceAllString(text, gap) }

// codeOf keeps the code that an error of MoEngage begins with. The rest of such an error may repeat the sent values.
func codeOf(text string) string {
	code, _, found := strings.Cut(text, ":")
	if !found || strings.ContainsAny(code, " @\"") {
		return leftOut(text)
	}
	return code
}

// leftOut says that there was a text.
func leftOut(text string) string {
	if text == "" {
		return ""
	}
	return gap
}
