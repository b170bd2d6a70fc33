package socket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"personasync/agent/host"
)

// ErrNotRunning says that no process listens at the socket.
var ErrNotRunning = errors.New("the agent is not running")

const (
	answerTimeout = time.Minute
	maxAnswer     = 64 << 20 // a page of a thousand changes is far smaller
)

// crowdedRetry is the pause before a connection is tried again while the socket's queue is full.
const crowdedRetry = 50 * time.Millisecond

// Client asks the process at a unix socket. It may be used concurrently.
type Client struct {
	http     *http.Client
	patient  *http.Client // the same without a time limit, for orders
	version  string       // ours
	hello    Hello
	socket   string
	patience time.Duration // see vigil
	pid      atomic.Int32  // of the process that listens, once connected; 0 where the kernel does not say
}

// Hello is the answer to a greeting.
type Hello struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// Dial greets the agent at socket. It returns ErrNotRunning when nothing listens there, ErrFrozen when the agent has not
// answered after five seconds, and an error that is fs.ErrPermission when the caller may not connect.
func Dial(ctx context.Context, socket, version string) (*Client, error) {
	return dialWith(ctx, socket, version, patience)
}

func dialWith(ctx context.Context, socket, version string, patience time.Duration) (*Client, error) {
	c := &Client{version: version, socket: socket, patience: patience}
	transport := &http.Transport{
		DialContext:  func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) },
		MaxIdleConns: 1, IdleConnTimeout: answerTimeout, ExpectContinueTimeout: answerTimeout,
	}
	c.http, c.patient = &http.Client{Transport: transport, Timeout: answerTimeout}, &http.Client{Transport: transport}
	greeting, cancel := context.WithTimeoutCause(ctx, patience, ErrFrozen)
	defer cancel()
	err := c.Get(greeting, "/api/hello", nil, &c.hello)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(greeting), ErrFrozen) {
		err = c.frozen()
	} else if err != nil {
		err = dialError(socket, err)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// connect opens a connection. A full queue of connections means that the agent accepts none: connect tries again until ctx
// ends.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	for {
		conn, err := (&net.Dialer{Timeout: c.patience}).DialContext(ctx, "unix", c.socket)
		if errors.Is(err, syscall.EAGAIN) && pause(ctx, crowdedRetry) == nil {
			continue
		}
		if err == nil {
			c.pid.Store(PeerOf(WithPeer(ctx, conn)).pid)
		}
		return conn, err
	}
}

// ProcessAt returns the process that listens at socket, also if it does not answer. It is 0 if none does, or the kernel does
// not say.
func ProcessAt(ctx context.Context, socket string) int {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0
	}
	defer conn.Close()
	return int(PeerOf(WithPeer(ctx, conn)).pid)
}

func dialError(socket string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nothing listens at %s", ErrNotRunning, socket)
	case errors.Is(err, fs.ErrPermission):
		return host.Denied("the agent's socket", socket, err)
	}
	return fmt.Errorf("ask the agent at %s: %w", socket, err)
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Where says in a sentence which agent is asked.
func (c *Client) Where() string {
	if c.hello.Version != c.version {
		return fmt.Sprintf("the agent is running (pid %d, version %s; this command is %s)", c.hello.PID, c.hello.Version, c.version)
	}
	return fmt.Sprintf("the agent is running (pid %d)", c.hello.PID)
}

// Get asks a question and decodes its answer into into. Every answer but 200 is the error that left there.
func (c *Client) Get(ctx context.Context, path string, q url.Values, into any) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// Post sends body, or nothing if it is nil, and decodes the answer into into. It waits as for an order.
func (c *Client) Post(ctx context.Context, path string, body io.Reader, into any) error {
	return c.do(ctx, http.MethodPost, path, body, into)
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader, into any) error {
	v, client := c.question(), c.http
	if method != http.MethodGet {
		v, client = c.command(), c.patient
	}
	ctx, end := v.begin(ctx)
	defer end()
	req, err := http.NewRequestWithContext(ctx, method, "http://personasync"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set(VersionHeader, c.version)
	resp, err := client.Do(req)
	if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() && ctx.Err() == nil {
		return fmt.Errorf("the agent (process %d) runs, and has not answered this for %v: ask again when it has less to do", c.pid.Load(), answerTimeout)
	}
	if err != nil {
		return c.cutOff(method, causeOf(ctx, err))
	}
	defer resp.Body.Close()
	if err := c.read(resp, into); err != nil {
		return c.cutOff(method, causeOf(ctx, err))
	}
	return nil
}

// read decodes an answer into into. Any status but 200 is the problem that it tells of.
func (c *Client) read(resp *http.Response, into any) error {
	theirs := resp.Header.Get(VersionHeader)
	if theirs == "" {
		return errors.New("the process that listens there is not personasync")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, into); err != nil {
			return fmt.Errorf("the agent (version %s) gave an answer that this version (%s) does not understand: %w", theirs, c.version, err)
		}
		return nil
	}
	var p Problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" || p.Code == codeNoRoute {
		return fmt.Errorf("the agent (version %s) does not know this question of version %s: HTTP %d", theirs, c.version, resp.StatusCode)
	}
	return p.err()
}

// question watches over a question. Its sign of life is the status, which reads the state: an agent that cannot answer
// that hangs.
func (c *Client) question() *vigil { return c.vigil("/api/status", 1) }

// command watches over an order. Giving an order up leaves its outcome unknown, and an order may keep the machine busy.
// So a greeting is enough of a sign of life, and one may be missed.
func (c *Client) command() *vigil { return c.vigil("/api/hello", 2) }

// vigil watches over a request. sign is the question that is a sign of life.
func (c *Client) vigil(sign string, misses int) *vigil {
	return &vigil{every: c.patience, lives: func(ctx context.Context) bool { return c.lives(ctx, sign) }, frozen: c.frozen, misses: misses}
}

// lives asks for a sign of life. A refused connection counts as one: the agent has ended, and so does the request.
func (c *Client) lives(ctx context.Context, sign string) bool {
	err := c.ask(ctx, sign)
	return err == nil || ctx.Err() != nil || !errors.Is(err, ErrFrozen)
}

// ask asks a question that is answered at once, on any free connection.
func (c *Client) ask(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience, ErrFrozen)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://personasync"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set(VersionHeader, c.version)
	resp, err := c.patient.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// frozen says that the agent at the socket does not answer.
func (c *Client) frozen() error { return frozenError(int(c.pid.Load()), c.socket, c.patience) }

// Metrics returns what Prometheus would read.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://personasync/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the agent answered its metrics with HTTP %d", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}
