package cli

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRefusedDeliveriesAreALineAndACount: a stranger at the door, or a wrong secret, is told of when it
// begins, and how often there was more of it when that ends or the minute is over.
func TestRefusedDeliveriesAreALineAndACount(t *testing.T) {
	m := newHost(t)
	said := m.startHeard(regexp.MustCompile("msg=ready"))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for range 50 {
		resp, err := client.Post("http://"+m.addr+"/segment/webhook", "application/json", strings.NewReader("{}"))
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("answered %d", resp.StatusCode)
		}
	}
	m.stop()
	lines, counted := 0, 0
	for line := range strings.Lines(said.String()) {
		if strings.Contains(line, "request not taken") {
			n := 0
			if found := regexp.MustCompile(`repeated=(\d+)`).FindStringSubmatch(line); found != nil {
				n, _ = strconv.Atoi(found[1])
			} else {
				n = 1
			}
			lines, counted = lines+1, counted+n
		}
	}
	if lines != 2 || counted != 50 {
		t.Errorf("%d lines speak of %d refusals:\n%s", lines, counted, said)
	}
}

// TestAFullPipeOfTheLogStopsNothing: with nobody reading standard error the agent neither started, nor
// answered, nor ended.
func TestAFullPipeOfTheLogStopsNothing(t *testing.T) {
	t.Parallel() // it waits
	reader, writer, err := os.Pipe()
	must(t, err)
	defer reader.Close()
	defer writer.Close()
	filled := fillPipe(t, writer)

	m := newHost(t)
	m.startTo(writer)
	c := m.hammer(2)
	c.more(20)
	c.end()
	if c.failed.Load() > 0 {
		t.Errorf("%d deliveries failed, one with %v", c.failed.Load(), c.why.Load())
	}
	if n := m.accepted(); n != c.taken.Load() {
		t.Errorf("%d events were answered 200, the agent holds %d", c.taken.Load(), n)
	}
	m.stop()
	must(t, writer.Close())
	rest, err := io.ReadAll(reader)
	must(t, err)
	if len(rest) < filled {
		t.Errorf("%d bytes were in the pipe, %d came out", filled, len(rest))
	}
}

// fillPipe fills a pipe and returns with how many bytes.
func fillPipe(t *testing.T, w *os.File) (n int) {
	t.Helper()
	fd := int(w.Fd()) // blocking from here on, for the agent
	must(t, unix.SetNonblock(fd, true))
	for _, size := range []int{4096, 1} {
		for {
			k, err := unix.Write(fd, bytes.Repeat([]byte("."), size))
			if err != nil {
				break
			}
			n += k
		}
	}
	must(t, unix.SetNonblock(fd, false))
	return n
}

// TestACrashArrivesBehindTheLog: the dump does not go through the queue.
func TestACrashArrivesBehindTheLog(t *testing.T) {
	m := newHost(t)
	said := m.startHeard(regexp.MustCompile("msg=ready"))
	m.endBy(syscall.SIGABRT)
	if text := said.String(); !regexp.MustCompile(`(?s)msg=ready.*SIGABRT.*goroutine \d`).MatchString(text) {
		t.Errorf("it said:\n%s", text)
	}
}
