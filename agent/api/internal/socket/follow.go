package socket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// order posts to path and returns the answer. The caller closes its body.
func (c *Client) order(ctx context.Context, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://personasync"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(VersionHeader, c.version)
	if body != nil {
		req.Header.Set("Expect", "100-continue") // a list is not sent if the order is refused at once
	}
	v := c.command()
	ctx, end := v.begin(ctx)
	resp, err := c.patient.Do(req.WithContext(ctx))
	if err != nil {
		end()
		return nil, inDoubt(c.cutOff(req.Method, causeOf(ctx, err)))
	}
	resp.Body = &watchedBody{resp.Body, ctx, &v.heard, end}
	if resp.StatusCode == http.StatusOK && resp.Header.Get(VersionHeader) != "" {
		return resp, nil
	}
	defer resp.Body.Close()
	if err := c.read(resp, nil); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the agent answered with HTTP %d", resp.StatusCode)
}

// Follow gives an order and passes its progress on until the report comes.
func (c *Client) Follow(ctx context.Context, path string, body io.Reader, progress func(done, total int64), report any) error {
	resp, err := c.order(ctx, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadBytes('\n')
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrFrozen) {
			return inDoubt(err)
		}
		if err != nil {
			return c.cutOff(http.MethodPost, err)
		}
		var n message
		switch err := json.Unmarshal(line, &n); {
		case err != nil:
			return fmt.Errorf("read the agent's answer: %w", err)
		case n.Problem != nil:
			return n.Problem.err()
		case n.Report != nil:
			return json.Unmarshal(n.Report, report)
		case progress != nil:
			progress(n.Done, n.Total)
		}
	}
}

// Receive gives an order that is answered with a file, and writes that to w. After an error w has a part of it. The text of
// an error says backup, the one file that crosses.
func (c *Client) Receive(ctx context.Context, path string, w io.Writer, progress func(done, total int64), report any) error {
	resp, err := c.order(ctx, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	total, _ := strconv.ParseInt(resp.Header.Get(totalHeader), 10, 64)
	_, err = io.CopyBuffer(struct{ io.Writer }{&counted{w: w, total: total, progress: progress}}, resp.Body, make([]byte, 256<<10))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("receive the backup: %w", err)
	}
	if text := resp.Trailer.Get(reportTrailer); text != "" {
		return json.Unmarshal([]byte(text), report)
	}
	var p Problem
	if json.Unmarshal([]byte(resp.Trailer.Get(problemTrailer)), &p) == nil && p.Code != "" {
		return p.err()
	}
	return errors.New("the agent stopped in the middle of the backup")
}

// counted reports how many bytes went through it.
type counted struct {
	w           io.Writer
	done, total int64
	progress    func(done, total int64)
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if c.done += int64(n); c.progress != nil {
		c.progress(c.done, max(c.done, c.total))
	}
	return n, err
}
