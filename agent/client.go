package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"personasync/agent/condition"
	"personasync/agent/host"
	"personasync/store"
	"personasync/store/domain"
)

// ErrNotRunning says that no agent answers at the socket.
var ErrNotRunning = errors.New("the agent is not running")

// versionHeader carries the version of whoever speaks. The socket's state-changing routes insist on
// it, which keeps out anything that did not mean to speak to an agent.
const versionHeader = "Personasync-Version"

const (
	answerTimeout = time.Minute
	maxAnswer     = 64 << 20 // a page of a thousand changes is far below
)

// Client asks the running agent over its unix socket. It may be used concurrently.
type Client struct {
	http     *http.Client
	patient  *http.Client // the same, for what takes as long as it takes
	version  string       // ours
	hello    Hello
	socket   string
	patience time.Duration // see frozen.go
	pid      atomic.Int32  // of whoever listens at socket, once connected; 0 where the kernel does not say
}

// Hello is how an agent introduces itself.
type Hello struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// Dial greets the agent at socket. It answers ErrNotRunning when nobody listens there, ErrFrozen when
// the agent has not answered after some seconds, and an error that is fs.ErrPermission when the caller
// may not ask.
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
	err := c.get(greeting, "/api/hello", nil, &c.hello)
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

// connect opens a connection. Where so many wait already that there is no room for another, the one who
// should take them is silent: it tries again for as long as ctx lasts.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	for {
		conn, err := (&net.Dialer{Timeout: c.patience}).DialContext(ctx, "unix", c.socket)
		if errors.Is(err, syscall.EAGAIN) && pause(ctx, lockPoll) == nil {
			continue
		}
		if err == nil {
			c.pid.Store(peerOf(withPeer(ctx, conn)).pid)
		}
		return conn, err
	}
}

func dialError(socket string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens at %s", ErrNotRunning, socket)
	case errors.Is(err, fs.ErrPermission):
		return host.Denied("the agent's socket", socket, err)
	}
	return fmt.Errorf("ask the agent at %s: %w", socket, err)
}

// Close lets go of the connection.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Where implements Inspector.
func (c *Client) Where() string {
	if c.hello.Version != c.version {
		return fmt.Sprintf("the agent is running (pid %d, version %s; this command is %s)", c.hello.PID, c.hello.Version, c.version)
	}
	return fmt.Sprintf("the agent is running (pid %d)", c.hello.PID)
}

// Status implements Inspector.
func (c *Client) Status(ctx context.Context) (s condition.Status, err error) {
	return s, c.get(ctx, "/api/status", nil, &s)
}

// page is how a listing crosses the socket.
type page[T any] struct {
	Items []T    `json:"items"`
	More  bool   `json:"more"`
	Next  string `json:"next,omitempty"` // cursor of the page behind this one, where a listing has cursors
}

// Changes implements Inspector.
func (c *Client) Changes(ctx context.Context, f domain.OutboxFilter) ([]domain.ChangeInfo, string, error) {
	q := url.Values{"user": {f.User}, "computation": {f.Computation}, "limit": {strconv.Itoa(f.Limit)}}
	if f.State != 0 {
		q.Set("state", f.State.String())
	}
	if f.Cursor != "" {
		q.Set("cursor", f.Cursor)
	}
	var p page[domain.ChangeInfo]
	err := c.get(ctx, "/api/changes", q, &p)
	return condition.Whole(p.Items), p.Next, err
}

// Change implements Inspector.
func (c *Client) Change(ctx context.Context, id domain.ID) (*ChangePage, error) {
	return one[ChangePage](ctx, c, "/api/change", url.Values{"id": {id.String()}})
}

// Trail implements Inspector.
func (c *Client) Trail(ctx context.Context, f store.ActivityFilter) (t store.Activity, err error) {
	q := url.Values{"user": {f.User}, "computation": {f.Computation}, "limit": {strconv.Itoa(f.Limit)}, "cursor": {f.Cursor}}
	err = c.get(ctx, "/api/trail", q, &t)
	t.Items = condition.Whole(t.Items)
	return t, err
}

// Stats implements Inspector.
func (c *Client) Stats(ctx context.Context) (lines []domain.StatLine, err error) {
	err = c.get(ctx, "/api/stats", nil, &lines)
	return condition.Whole(lines), err
}

// Computations implements Inspector.
func (c *Client) Computations(ctx context.Context) (list []domain.ComputationInfo, err error) {
	err = c.get(ctx, "/api/computations", nil, &list)
	return condition.Whole(list), err
}

// Members implements Inspector.
func (c *Client) Members(ctx context.Context, key, after string, limit int) ([]domain.MemberInfo, bool, error) {
	var p page[domain.MemberInfo]
	err := c.get(ctx, "/api/members", url.Values{"key": {key}, "after": {after}, "limit": {strconv.Itoa(limit)}}, &p)
	return condition.Whole(p.Items), p.More, err
}

// User implements Inspector.
func (c *Client) User(ctx context.Context, id string) (*domain.UserInfo, error) {
	return one[domain.UserInfo](ctx, c, "/api/user", url.Values{"id": {id}})
}

// DryRun implements Inspector.
func (c *Client) DryRun(ctx context.Context, computation string, limit int) (*Rehearsal, error) {
	return one[Rehearsal](ctx, c, "/api/dry-run", url.Values{"computation": {computation}, "limit": {strconv.Itoa(limit)}})
}

// Schedule implements Inspector.
func (c *Client) Schedule(ctx context.Context, next int) (jobs []JobInfo, err error) {
	err = c.get(ctx, "/api/schedule", url.Values{"next": {strconv.Itoa(next)}}, &jobs)
	return condition.Whole(jobs), err
}

// FlushReceipt says what a flush set in motion.
type FlushReceipt struct {
	Job     string `json:"job"`     // the schedule that was let through; "" for all
	Pending uint64 `json:"pending"` // changes that were waiting, of every schedule
}

// Flush asks the agent to send now what waits for its schedule or for a retry: everything, or what
// leaves on the schedule of one computation. It does not wait for MoEngage.
func (c *Client) Flush(ctx context.Context, computation string) (r FlushReceipt, err error) {
	body, err := json.Marshal(flushOrder{computation})
	if err != nil {
		return r, err
	}
	return r, c.do(ctx, http.MethodPost, "/api/flush", bytes.NewReader(body), &r)
}

type flushOrder struct {
	Computation string `json:"computation"`
}

func one[T any](ctx context.Context, c *Client, path string, q url.Values) (*T, error) {
	into := new(T)
	if err := c.get(ctx, path, q, into); err != nil {
		return nil, err
	}
	return into, nil
}

func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil, into)
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
	req.Header.Set(versionHeader, c.version)
	resp, err := client.Do(req)
	if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() && ctx.Err() == nil {
		return fmt.Errorf("the agent (process %d) lives, and has not answered this for %v: ask again when it has less to do", c.pid.Load(), answerTimeout)
	}
	if err != nil {
		return causeOf(ctx, err)
	}
	defer resp.Body.Close()
	if err := c.read(resp, into); err != nil {
		return causeOf(ctx, err)
	}
	return nil
}

// read takes an answer, or the problem in its place.
func (c *Client) read(resp *http.Response, into any) error {
	theirs := resp.Header.Get(versionHeader)
	if theirs == "" {
		return errors.New("whatever listens there is not personasync")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, into); err != nil {
			return fmt.Errorf("the agent (version %s) answered what this version (%s) does not understand: %w", theirs, c.version, err)
		}
		return nil
	}
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" || p.Code == codeNoRoute {
		return fmt.Errorf("the agent (version %s) does not know this question of version %s: HTTP %d", theirs, c.version, resp.StatusCode)
	}
	return p.err()
}

// unwrapURL drops the address that net/http puts in front: it is the same for every question, and
// its query holds user ids.
func unwrapURL(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
