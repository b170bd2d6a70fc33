package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLinesOfALogThatMayBeShown: in every format of the log, and beside it what systemd and Go's runtime write.
func TestLinesOfALogThatMayBeShown(t *testing.T) {
	for line, want := range map[string]string{
		`time=2026-03-14T09:26:53Z level=INFO msg=ready part=agent took=1.5s data_dir=/var/lib/p`:      `time=2026-03-14T09:26:53Z level=INFO msg=ready part=agent took=1.5s data_dir=/var/lib/p`,
		`time=2026-03-14T09:26:53Z level=DEBUG msg="request answered" user=ann`:                        ``,
		`time=2026-03-14T09:26:53Z level=WARN msg="not stored unchanged" name="Bought by ann" n=3`:     `time=2026-03-14T09:26:53Z level=WARN msg="not stored unchanged" name=• n=3`,
		`time=2026-03-14T09:26:53Z level=WARN msg=x error="open /etc/a: for \"ann b\" and ann@b.c"`:    `time=2026-03-14T09:26:53Z level=WARN msg=x error="open /etc/a: for • and •"`,
		`time=2026-03-14T09:26:53Z level=WARN msg=x name=48213 user=7`:                                 `time=2026-03-14T09:26:53Z level=WARN msg=x name=• user=•`,
		`{"time":"2026-03-14T09:26:53Z","level":"INFO","msg":"ready","spelling":"ann","n":3,"name":7}`: `{"level":"INFO","msg":"ready","n":3,"name":"•","spelling":"•","time":"2026-03-14T09:26:53Z"}`,
		`{"level":"DEBUG","msg":"ready"}`:                                                              ``,
		`{"level":"INFO","msg":"ready","deep":{"user":"ann"}}`:                                         `{"deep":"•","level":"INFO","msg":"ready"}`,
		`{"broken`: ``,
		`09:26:53.000 INF ready part=agent user=ann`:                          `09:26:53.000 INF ready part=agent user=•`,
		`09:26:53.000 DBG request answered user=ann`:                          ``,
		`Started personasync.service - Segment Engage audiences to MoEngage.`: `Started personasync.service - Segment Engage audiences to MoEngage.`,
		`personasync: the disk is full for "ann"`:                             `personasync: the disk is full for •`,
		`goroutine 1 [running]:`:                                              `goroutine 1 [running]:`,
		"\t/work/agent/run.go:12 +0x1d":                                       "\t/work/agent/run.go:12 +0x1d",
		`panic: ann`:                                                          ``,
		`anything about ann`:                                                  ``,
	} {
		if got := logLine(line); got != want {
			t.Errorf("%s\nis shown as %q\nwant          %q", line, got, want)
		}
	}
}

func TestASecretIsFoundInEveryForm(t *testing.T) {
	const secret = `päss"w/rd+é`
	m := newMask([]string{secret, "", "abc"})
	for _, text := range []string{secret, `p\u00e4ss\"w/rd+\u00e9`, `päss\"w/rd+é`, "p%C3%A4ss%22w%2Frd%2B%C3%A9", "cMOkc3Midy9yZCvDqQ==", "eHDDpHNzIncvcmQrw6k", "70c3a4737322772f72642bc3a9"} {
		got := string(m.apply([]byte("x=" + text + " abc")))
		if strings.Contains(text, `\u`) {
			continue // Go writes no such escapes for these letters
		}
		if strings.Contains(got, text[2:len(text)-2]) || !strings.HasSuffix(got, " abc") {
			t.Errorf("%q is left as %q", text, got)
		}
	}
}

// TestAPartThatDoesNotComeIsNamed: it neither delays the others nor keeps the archive from being written.
func TestAPartThatDoesNotComeIsNamed(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	parts := []Part{
		{"good.txt", func(context.Context) ([]byte, error) { return []byte("fine"), nil }},
		{"stuck.txt", func(context.Context) ([]byte, error) { <-stuck; return nil, nil }},
		{"slow.txt", func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return []byte("half"), ctx.Err() }},
		{"bad.txt", func(context.Context) ([]byte, error) { return nil, errors.New(`no "ann"`) }},
	}
	var out bytes.Buffer
	about, err := write(t.Context(), &out, "1.0", parts, nil, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	want := []Came{{"good.txt", 4, ""}, {"stuck.txt", 0, "it did not come in time"}, {"slow.txt", 4, "the agent does not answer"}, {"bad.txt", 0, "no •"}}
	for i := range want {
		if about.Parts[i] != want[i] {
			t.Errorf("%+v, want %+v", about.Parts[i], want[i])
		}
	}
}

// TestABundleThatFindsNoRoomLeavesNoFile: an empty one stayed, and the next try was refused because of it.
func TestABundleThatFindsNoRoomLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "support.tar.gz")
	if err := create(path, func(io.Writer) error { return syscall.ENOSPC }); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("said %v", err)
	}
	if err := create(path, func(io.Writer) error { return nil }); err != nil {
		t.Errorf("the next try said %v", err)
	}
}
