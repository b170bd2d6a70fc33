package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"personasync/cli/internal/service"
)

var goVersion = runtime.Version()

// The end of a log that an archive has.
const (
	tailLines = 2000
	tailBytes = 512 << 10
)

// line is one of a log, with what stands before it.
type line struct{ head, text string }

// unitName is the name of the agent's unit; "" if no unit runs it.
func (s *Subject) unitName(ctx context.Context) (string, error) {
	if !service.Booted() {
		return "", nil
	}
	path, err := filepath.Abs(s.Config.Path)
	if err != nil || s.Config.Path == "" {
		path = ""
	}
	u, err := service.Find(ctx, path, "")
	if errors.Is(err, service.ErrNoUnit) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return u.Name, nil
}

// tail reads the end of the log: from the journal of the unit, or from the file that the running agent writes to.
func (s *Subject) tail(ctx context.Context) (lines []line, from string, err error) {
	name, err := s.unitName(ctx)
	if err != nil {
		return nil, "", err
	}
	if name != "" {
		out, err := run(ctx, "journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE,_PID,SYSLOG_IDENTIFIER", "--lines="+strconv.Itoa(tailLines), "--unit="+name)
		return ofJournal(out), "the journal of " + name, err
	}
	pid := agentPID(ctx, s.Config)
	if pid == 0 {
		return nil, "", errors.New("the agent is not running, and no unit of systemd has its log: add the end of its log file without lines of level debug")
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", pid))
	if err != nil {
		return nil, "", fmt.Errorf("look where the agent's log goes: %w", err)
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, "", errors.New("the agent's log goes to a pipe or a terminal: add its end from where that leads, without lines of level debug")
	}
	text, err := endOf(path)
	for l := range strings.Lines(text) {
		lines = append(lines, line{text: l})
	}
	return lines, path, err
}

// endOf reads the last lines of a file.
func endOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	from := max(0, size-tailBytes)
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if from > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n")) // the first may be a part of one
	}
	return string(text), err
}

// ofJournal reads what journalctl prints as JSON. A message that is not text is a list of bytes there, and none of ours.
func ofJournal(out string) (lines []line) {
	for l := range strings.Lines(out) {
		var e struct {
			At      string `json:"__REALTIME_TIMESTAMP"`
			PID     string `json:"_PID"`
			By      string `json:"SYSLOG_IDENTIFIER"`
			Message string `json:"MESSAGE"`
		}
		if json.Unmarshal([]byte(l), &e) != nil {
			continue
		}
		us, _ := strconv.ParseInt(e.At, 10, 64)
		lines = append(lines, line{fmt.Sprintf("%s %s[%s] ", time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000Z"), e.By, e.PID), e.Message})
	}
	return lines
}

// run runs a command of the host, and ends it with ctx.
func run(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = grace
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(out), nil
}
