package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/preview"
	"personasync/sync/sandbox"
)

// TestFieldCasesPreviewed previews the deliveries of every field case, makes the requests that the preview shows, and
// wants MoEngage to hold what it must hold after the real thing.
func TestFieldCasesPreviewed(t *testing.T) {
	var manifest struct{ Cases []fieldCase }
	readJSON(t, filepath.Join("testdata", "field-cases", "MANIFEST.json"), &manifest)
	if len(manifest.Cases) == 0 {
		t.Fatal("there are no cases")
	}
	for _, c := range manifest.Cases {
		t.Run(c.Name, func(t *testing.T) {
			for _, w := range previewFieldCase(t, c).wrong {
				t.Error(w)
			}
		})
	}
}

func previewFieldCase(t *testing.T, c fieldCase) *field {
	box := sandbox.New(sandbox.Options{Strict: true, KeepBodies: true})
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	f := &field{t: t, dir: t.TempDir(), box: box, url: server.URL}
	f.introduce(slices.Sorted(maps.Keys(c.Expect.Cohorts)), c.Expect.Cohorts)
	f.configure(c.Config)
	conf, err := config.LoadWithoutSecrets(filepath.Join(f.dir, "agent.toml"), []string{"PERSONASYNC_MOENGAGE_BASE_URL=" + f.url, "PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := preview.AsIf(conf, api.PreviewQuery{Body: fieldBody(t, c), Path: c.Path}, preview.Never)
	if err != nil {
		t.Fatal(err)
	}
	if r.Refused != nil {
		f.wrong = append(f.wrong, "refused: "+r.Refused.Message)
	}
	held, parked, members := map[string]bool{}, []string{}, map[string][]string{}
	for i := range r.Events {
		e := &r.Events[i]
		if e.Outcome == "parked" {
			parked = append(parked, e.Reason)
		}
		members[e.Computation] = slices.DeleteFunc(members[e.Computation], func(user string) bool { return user == e.User && e.Outcome == "exit" })
		if e.Outcome == "enter" {
			members[e.Computation] = append(members[e.Computation], e.User)
		}
		for _, change := range e.Changes {
			if change.State == "held" {
				held[e.User+" "+change.Kind+" "+change.Computation] = true // a newer one replaces it
			}
		}
		for _, request := range e.Requests {
			f.make(request.Method, request.URL, request.Header, request.Body)
		}
	}
	want := c.Expect
	if c.Import != nil { // what follows from the list is not of the deliveries
		return f
	}
	f.checkMoEngage(want)
	for key, list := range want.Members {
		f.same("members of "+key, list, members[key])
	}
	if want.Parked != nil {
		f.same("parked", want.Parked, parked)
	}
	if want.Held != nil {
		f.same("held", *want.Held, uint64(len(held)))
	}
	return f
}

// fieldBody is all deliveries of a case as one.
func fieldBody(t *testing.T, c fieldCase) (body []byte) {
	for _, name := range append(slices.Clone(c.Bodies), c.File) {
		if name == "" {
			continue
		}
		if body != nil {
			t.Fatal("a case has several bodies: put them into one")
		}
		text, err := os.ReadFile(filepath.Join("testdata", "field-cases", name))
		if err != nil {
			t.Fatal(err)
		}
		if body = text; !c.AsIs {
			body = moveTimes(body, time.Now())
		}
	}
	return body
}

// make makes a request that a preview shows, with the secrets that it masks.
func (f *field) make(method, url string, header http.Header, body []byte) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	req.SetBasicAuth("WS", "key")
	if code := do(f.t, http.DefaultClient, req); code != http.StatusOK {
		f.t.Errorf("MoEngage answered %d to %s", code, body)
	}
}

var (
	jsonBlock = regexp.MustCompile("(?ms)^```json\n(.*?)^```")
	shellBody = regexp.MustCompile(`(?s)(?:body=|-d )'(\{.*?\})'`)
)

// documentBodies extracts the bodies that the documents show, by a name that says where they stand.
func documentBodies(t *testing.T) map[string][]byte {
	bodies := map[string][]byte{}
	for path, text := range sources(t) {
		if !strings.HasSuffix(path, ".md") || !strings.HasPrefix(path, "../docs/") && path != "../README.md" {
			continue
		}
		n := 0
		for _, pattern := range []*regexp.Regexp{jsonBlock, shellBody} {
			for _, m := range pattern.FindAllStringSubmatch(text, -1) {
				if !strings.Contains(m[1], `"type"`) || strings.Contains(m[1], `"elements"`) { // an answer, or what MoEngage gets
					continue
				}
				n++
				name := strings.TrimSuffix(filepath.Base(path), ".md") + "-" + strconv.Itoa(n) + ".json"
				bodies[name] = []byte(m[1])
			}
		}
	}
	return bodies
}

// TestBodiesOfTheDocumentsComeToWhatTheirCasesSay: every body that a document shows is a case of `config test`. After a
// change of a document, UPDATE_DOCUMENT_CASES=1 writes the expectations.
func TestBodiesOfTheDocumentsComeToWhatTheirCasesSay(t *testing.T) {
	bodies := documentBodies(t)
	if len(bodies) < 4 {
		t.Errorf("only %d bodies were found", len(bodies))
	}
	kept, err := filepath.Abs(filepath.Join("testdata", "document-cases"))
	if err != nil {
		t.Fatal(err)
	}
	dir, args := t.TempDir(), []string{"personasync", "config", "test"}
	if update := os.Getenv("UPDATE_DOCUMENT_CASES") != ""; update {
		dir, args = kept, append(args, "--update")
		defer func() {
			for name := range bodies {
				_ = os.Remove(filepath.Join(kept, name)) // the document has it
			}
		}()
	} else if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	for name, body := range bodies {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	t.Chdir(t.TempDir()) // without a configuration
	if code := Run(t.Context(), append(args, dir), Streams{Out: &out, Err: &errs}); code != 0 {
		t.Errorf("%s%s", &out, &errs)
	}
}

// TestEveryBodyIsPreviewedAndIsACase: the commands preview and config test take every body that was collected from Segment's
// documents and from the field, and agree on it. What it comes to is the matter of other tests.
func TestEveryBodyIsPreviewedAndIsACase(t *testing.T) {
	t.Parallel()
	var payloads struct {
		Files []struct {
			File, Path string
			Expect     struct {
				Code     string
				Status   int
				Rejected bool
			}
		}
	}
	dir := filepath.Join("..", "agent", "segment", "testdata", "payloads")
	readJSON(t, filepath.Join(dir, "MANIFEST.json"), &payloads)
	all := trial{t: t, dir: t.TempDir(), want: map[string]tried{}}
	if n := len(bodiesIn(t, dir)); n != len(payloads.Files) {
		t.Errorf("there are %d bodies, and %d in the manifest", n, len(payloads.Files))
	}
	for _, p := range payloads.Files {
		all.preview(filepath.Join(dir, p.File), p.Path, p.Expect.Rejected || p.Expect.Code != "" || p.Expect.Status >= 400)
	}
	all.test()

	var field struct{ Cases []fieldCase }
	readJSON(t, filepath.Join("testdata", "field-cases", "MANIFEST.json"), &field)
	for _, file := range bodiesIn(t, filepath.Join("testdata", "field-cases")) {
		var c fieldCase // one body has none
		if i := slices.IndexFunc(field.Cases, func(c fieldCase) bool { return c.File == filepath.Base(file) }); i >= 0 {
			c = field.Cases[i]
		}
		one := trial{t: t, dir: t.TempDir(), config: c.Config, want: map[string]tried{}}
		if filepath.Ext(file) == ".csv" {
			if _, code, errs := one.run("preview", "--as-if", "never", file); code != 1 || !strings.Contains(errs, "looks like a list of members") {
				t.Errorf("%s: exit code %d, %s", file, code, errs)
			}
			continue
		}
		one.preview(file, c.Path, false)
		one.test()
	}
}

// bodiesIn lists the files beside a manifest.
func bodiesIn(t *testing.T, dir string) (files []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if files = slices.DeleteFunc(all, func(path string) bool { return filepath.Base(path) == "MANIFEST.json" }); err != nil || len(files) == 0 {
		t.Fatalf("%s has no bodies: %v", dir, err)
	}
	return files
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// trial previews bodies, and has the same ones as cases of one folder.
type trial struct {
	t           *testing.T
	dir, config string
	want        map[string]tried // by the name of the case
}

// tried is what is compared of a preview and a case.
type tried struct {
	Refused string
	Events  []struct{ Outcome, Reason string }
}

// run runs a command with the configuration of the trial.
func (f *trial) run(args ...string) (out string, code int, errs string) {
	f.t.Helper()
	path := filepath.Join(f.dir, "agent.conf")
	if err := os.WriteFile(path, []byte(f.config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	var o, e bytes.Buffer
	code = Run(f.t.Context(), append([]string{"personasync", "--config", path}, args...), Streams{Out: &o, Err: &e})
	return o.String(), code, e.String()
}

func (f *trial) preview(file, path string, refused bool) {
	f.t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		f.t.Fatal(err)
	}
	received, err := preview.Receipt(config.Default(), api.PreviewQuery{Body: body, Path: path}) // as that of a case
	if err != nil {
		f.t.Fatal(err)
	}
	args := []string{"preview", "--as-if", "never", "--json", "--received", received.Format(time.RFC3339Nano), file}
	if path != "" {
		args = append(args, "--path", path)
	}
	out, code, errs := f.run(args...)
	var r api.PreviewResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || (code != 0) != refused || (r.Refused != nil) != refused {
		f.t.Errorf("%s: exit code %d, %v, %s", file, code, err, errs)
		return
	}
	var want tried
	if refused {
		want.Refused = r.Refused.Code
	}
	for i := range r.Events {
		want.Events = append(want.Events, struct{ Outcome, Reason string }{r.Events[i].Outcome, r.Events[i].Reason})
	}
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	f.want[name] = want
	for suffix, text := range map[string][]byte{".json": body, ".want.json": []byte(`{"path": "` + path + `"}`)} {
		if err := os.WriteFile(filepath.Join(f.dir, name+suffix), text, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

// test writes what the cases come to, has it compared, and compares it with the previews.
func (f *trial) test() {
	f.t.Helper()
	if _, code, errs := f.run("config", "test", "--update", f.dir); code != 0 {
		f.t.Errorf("--update: exit code %d, %s", code, errs)
	}
	if out, code, errs := f.run("config", "test", f.dir); code != 0 || strings.Count(out, "ok ") != len(f.want) {
		f.t.Errorf("of %d cases: exit code %d, %s%s", len(f.want), code, out, errs)
	}
	for name, want := range f.want {
		var got tried
		readJSON(f.t, filepath.Join(f.dir, name+".want.json"), &got)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			f.t.Errorf("%s (-preview +case):\n%s", name, d)
		}
	}
}
