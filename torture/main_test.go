package torture

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// product is the path of the released agent.
var product string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "torture")
	if err == nil {
		product = filepath.Join(dir, "personasync")
		err = build(product)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func build(path string, flags ...string) error {
	c := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./cli/personasync")...)
	c.Dir = ".."
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c, err, out)
	}
	return nil
}

// withoutFsync returns an agent with a bbolt that never syncs. It is built once.
func withoutFsync(t *testing.T) string {
	t.Helper()
	binary, err := unsynced()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var unsynced = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(product), "unsynced")
	from, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "go.etcd.io/bbolt").Output()
	if err != nil {
		return "", err
	}
	bbolt := filepath.Join(dir, "bbolt")
	if err := os.CopyFS(bbolt, os.DirFS(strings.TrimSpace(string(from)))); err != nil {
		return "", err
	}
	path := filepath.Join(bbolt, "bolt_linux.go")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	const sync = "return syscall.Fdatasync(int(db.file.Fd()))"
	if !strings.Contains(string(text), sync) {
		return "", fmt.Errorf("%s does not say %q any more", path, sync)
	}
	patched := strings.Replace(strings.Replace(string(text), sync, "return nil", 1), "import (\n\t\"syscall\"\n)\n", "", 1)
	if err := os.WriteFile(path, []byte(patched), 0o600); err != nil {
		return "", err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err == nil && name == "go.mod" {
			text = append(text, "\nreplace go.etcd.io/bbolt => "+bbolt+"\n"...)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	binary := filepath.Join(dir, "personasync")
	return binary, build(binary, "-modfile="+filepath.Join(dir, "go.mod"), "-mod=mod")
})

// withoutFolderSync builds the agent with a store that does not sync directories.
func withoutFolderSync(t *testing.T) string {
	t.Helper()
	const sync = "func SyncDir(dir string) error {\n"
	return patched(t, edit{"../store/internal/boltfile/boltfile.go", sync, sync + "\tif dir != \"\" {\n\t\treturn nil\n\t}\n"})
}

// edit is another text in a source file.
type edit struct{ source, was, is string }

// patched builds the agent from changed sources.
func patched(t *testing.T, changes ...edit) (binary string) {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for i, c := range changes {
		path, err := filepath.Abs(c.source)
		if err != nil {
			t.Fatal(err)
		}
		from := path
		if before, changed := replace[path]; changed {
			from = before
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), c.was) != 1 {
			t.Fatalf("%s does not say %q once any more", path, c.was)
		}
		replace[path] = filepath.Join(dir, fmt.Sprintf("file%d.go", i))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(text), c.was, c.is, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	overlay := filepath.Join(dir, "overlay.json")
	binary = filepath.Join(dir, "personasync")
	if err := errors.Join(err, os.WriteFile(overlay, text, 0o600), build(binary, "-overlay="+overlay)); err != nil {
		t.Fatal(err)
	}
	return binary
}

// plan is the extent of a test. The short form has a fixed count. PERSONASYNC_TORTURE selects the long form,
// which ends after a count or when the time box is over.
type plan struct {
	seed  uint64
	count int64
	until time.Time
}

// did fails a test that did nothing before its time box was over, because that proves nothing.
func (p plan) did(t *testing.T, times int) {
	t.Helper()
	if times == 0 {
		t.Error("the time box was over before anything was done: make PERSONASYNC_TORTURE_BOX longer")
	}
}

func planned(t *testing.T, short, long int64) plan {
	t.Helper()
	p := plan{seed: rand.Uint64() >> 32, count: short, until: time.Now().Add(time.Hour)}
	if os.Getenv("PERSONASYNC_TORTURE") != "" {
		p.count = long
	}
	if text := os.Getenv("PERSONASYNC_TORTURE_SEED"); text != "" {
		var err error
		if p.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("PERSONASYNC_TORTURE_SEED: %v", err)
		}
	}
	if text := os.Getenv("PERSONASYNC_TORTURE_BOX"); text != "" {
		box, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("PERSONASYNC_TORTURE_BOX: %v", err)
		}
		p.until = time.Now().Add(box)
	}
	t.Logf("PERSONASYNC_TORTURE_SEED=%d", p.seed)
	return p
}
