package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// echoes is a MoEngage that refuses every request, and repeats what was sent in its message.
func echoes(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if zipped, failed := gzip.NewReader(bytes.NewReader(body)); failed == nil {
		body, err = io.ReadAll(zipped)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	text, _ := json.Marshal(map[string]any{"status": "failure", "error": map[string]string{
		"type": "Validation Failed", "message": "these are not known: " + string(body), "request_id": "r1",
	}})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(text)
}

// scriptUnmarked unpacks an archive of `doctor --bundle` into a folder of its name, and looks in every file for every line of
// a list of marks, as it is and in the forms in which it may be hidden.
func scriptUnmarked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unmarked ARCHIVE MARKS")
	}
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	ts.Check(err)
	dir := strings.TrimSuffix(ts.MkAbs(args[0]), ".tar.gz")
	ts.Check(os.MkdirAll(dir, 0o700))
	forms := formsOf(strings.Split(strings.TrimSpace(ts.ReadFile(args[1])), "\n"))
	if len(forms) == 0 {
		ts.Fatalf("there are no marks")
	}
	for archive := tar.NewReader(zipped); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		ts.Check(err)
		text, err := io.ReadAll(archive)
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), text, 0o600))
		for form, mark := range forms {
			if at := bytes.Index(text, []byte(form)); at >= 0 {
				ts.Fatalf("%s has %q, as %q:\n%s", h.Name, mark, form, text[max(0, at-200):min(len(text), at+200)])
			}
		}
	}
}

// formsOf returns the forms of marks, each with its mark.
func formsOf(marks []string) map[string]string {
	forms := map[string]string{}
	for _, m := range marks {
		quoted, _ := json.Marshal(m)
		inner := strings.Trim(string(quoted), `"`)
		list := []string{m, inner, strings.Trim(strconv.QuoteToASCII(m), `"`), strings.Trim(fmt.Sprintf("%q", inner), `"`), url.QueryEscape(m), url.PathEscape(m), hex.EncodeToString([]byte(m))}
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for shift := range 3 {
				text := e.EncodeToString(append(make([]byte, shift), m...))
				list = append(list, text[(shift*8+5)/6:len(text)-1])
			}
		}
		for _, form := range list {
			forms[form] = m
		}
	}
	return forms
}
