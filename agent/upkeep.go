package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"

	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/store"
)

// Upkeep is what can be done about the data as a whole: by the running agent, or on the files of a
// stopped one. progress may be nil; it is called now and then with the bytes done and those to do.
type Upkeep interface {
	Check(ctx context.Context, progress func(done, total int64)) (*store.CheckReport, error)
	Compact(ctx context.Context, progress func(done, total int64)) (store.CompactReport, error)

	// Backup writes a backup to w. Whoever cares for half a backup must remove it after an error.
	Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (store.BackupReport, error)
}

var (
	_ Upkeep = (*store.Store)(nil)
	_ Upkeep = (*Client)(nil)
	_ Upkeep = files{}
)

// OpenUpkeep finds whoever can look after the data of the agent of c: the agent itself when it runs,
// else its files. where says which in a sentence.
func OpenUpkeep(ctx context.Context, c *config.Config, version string) (u Upkeep, done io.Closer, where string, err error) {
	client, err := Dial(ctx, c.Socket(os.Getenv), version)
	if err == nil {
		return client, client, client.Where(), nil
	}
	if !errors.Is(err, ErrNotRunning) {
		return nil, nil, "", err
	}
	if err := orElsewhere(ctx, c, nil); err != nil {
		return nil, nil, "", err
	}
	return files{c}, io.NopCloser(nil), absent(c.DataDir) + ": working on its files in " + c.DataDir, nil
}

// Restore puts a backup in place of the data of the agent of c, which must not be running.
func Restore(ctx context.Context, c *config.Config, path, version string, progress func(done, total int64)) (store.RestoreReport, error) {
	client, err := Dial(ctx, c.Socket(os.Getenv), version)
	if err == nil {
		_ = client.Close()
		return store.RestoreReport{}, fmt.Errorf("%w: %s: stop it first", store.ErrInUse, client.Where())
	}
	if err := movedFrom(ctx, c); err != nil {
		return store.RestoreReport{}, err
	}
	if err := checkOwner(c.DataDir); err != nil {
		return store.RestoreReport{}, err
	}
	var r store.RestoreReport
	err = waitForCommand(ctx, c.DataDir, func(store.Holding, time.Duration) {}, func() error {
		r, err = store.Restore(ctx, path, c.DataDir, progress)
		return err
	})
	return r, err
}

// files is the data of a stopped agent.
type files struct{ config *config.Config }

// Check implements Upkeep. A damaged page can kill the process: this one is a command's, and no agent.
func (f files) Check(ctx context.Context, progress func(done, total int64)) (*store.CheckReport, error) {
	r, err := store.Check(ctx, f.config.DataDir, progress)
	return r, f.explain(err)
}

// Compact implements Upkeep. It applies what the agent left in its inbox on the way, as its start would.
func (f files) Compact(ctx context.Context, progress func(done, total int64)) (r store.CompactReport, err error) {
	err = f.open(ctx, "db compact", func(s *store.Store) error {
		r, err = s.Compact(ctx, progress)
		return err
	})
	return r, err
}

// Backup implements Upkeep.
func (f files) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r store.BackupReport, err error) {
	v, err := store.OpenReadOnly(f.config.DataDir)
	if err != nil {
		return r, f.explain(err)
	}
	r, err = v.Backup(ctx, w, progress)
	return r, errors.Join(err, v.Close())
}

// explain says more of why the files could not be opened.
func (f files) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return host.Denied("the agent's data", f.config.DataDir, err)
	case errors.Is(err, store.ErrNoData):
		return orElsewhere(context.Background(), f.config, noDataError(f.config.DataDir, err))
	}
	return err
}

// stallTimeout is how long one piece of an answer may wait for its reader. A backup holds pages of the
// state meanwhile, so it waits for nobody longer.
const stallTimeout = 30 * time.Second

// What crosses the socket: of a check and a compaction, lines of tidings, the last of which has the
// report or the problem; of a backup, its bytes, with the report or the problem behind them.
type tidings struct {
	Done    int64           `json:"done"`
	Total   int64           `json:"total"`
	Report  json.RawMessage `json:"report,omitempty"`
	Problem *problem        `json:"problem,omitempty"`
}

const (
	totalHeader    = "Personasync-Total"
	reportTrailer  = "Personasync-Report"
	problemTrailer = "Personasync-Problem"
	tidingsEvery   = 100 * time.Millisecond
)

func (a *Admin) checkData(w http.ResponseWriter, r *http.Request) {
	a.tell(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
		return a.Upkeep.Check(ctx, progress)
	})
}

func (a *Admin) compactData(w http.ResponseWriter, r *http.Request) {
	a.tell(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
		return a.Upkeep.Compact(ctx, progress)
	})
}

// tell does something long, and tells how it goes.
func (a *Admin) tell(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, progress func(done, total int64)) (any, error)) {
	out := newPatientWriter(w)
	lines, last := json.NewEncoder(out), time.Time{}
	report, err := do(r.Context(), func(done, total int64) {
		if now := time.Now(); now.Sub(last) > tidingsEvery {
			last = now
			_ = lines.Encode(tidings{Done: done, Total: total}) // whoever gave the order has gone: r.Context ends
			_ = out.Flush()
		}
	})
	end := tidings{}
	if err == nil {
		end.Report, err = json.Marshal(report)
	}
	if err != nil {
		p, _ := newProblem(err)
		if p.Code == "internal" {
			a.Log.Error("an order failed", "path", r.URL.Path, "error", err)
		}
		end.Problem = &p
	}
	_ = lines.Encode(end)
}

// backUpData streams a backup. The file is made by who asked, with that one's rights and place.
func (a *Admin) backUpData(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", reportTrailer+", "+problemTrailer)
	w.Header().Set("Content-Type", "application/x-tar")
	out := newPatientWriter(w)
	report, err := a.Upkeep.Backup(r.Context(), out, func(_, total int64) {
		w.Header().Set(totalHeader, strconv.FormatInt(total, 10)) // counts until the first byte leaves
	})
	var text []byte
	if err == nil {
		text, err = json.Marshal(report)
	}
	if err == nil {
		w.Header().Set(reportTrailer, string(text))
		return
	}
	a.Log.Error("upkeep failed", "path", r.URL.Path, "error", err)
	p, _ := newProblem(err)
	if text, err = json.Marshal(p); err == nil {
		w.Header().Set(problemTrailer, string(text))
	}
}

// patientWriter writes an answer that takes longer than answers do, as long as its reader keeps up.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func newPatientWriter(w http.ResponseWriter) *patientWriter {
	p := &patientWriter{w, http.NewResponseController(w)}
	_ = p.control.SetReadDeadline(time.Time{}) // the request has been read; the server would take it for lost
	return p
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	return p.ResponseWriter.Write(b)
}

// Flush sends what was written.
func (p *patientWriter) Flush() error { return p.control.Flush() }

// Check implements Upkeep.
func (c *Client) Check(ctx context.Context, progress func(done, total int64)) (*store.CheckReport, error) {
	r := new(store.CheckReport)
	return r, c.listen(ctx, "/api/db/check", nil, progress, r)
}

// Compact implements Upkeep.
func (c *Client) Compact(ctx context.Context, progress func(done, total int64)) (r store.CompactReport, err error) {
	return r, c.listen(ctx, "/api/db/compact", nil, progress, &r)
}

// order posts to path and returns the answer, which the caller closes.
func (c *Client) order(ctx context.Context, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://personasync"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(versionHeader, c.version)
	if body != nil {
		req.Header.Set("Expect", "100-continue") // what is refused at once need not be sent
	}
	v := c.command()
	ctx, end := v.begin(ctx)
	resp, err := c.patient.Do(req.WithContext(ctx))
	if err != nil {
		end()
		return nil, inDoubt(causeOf(ctx, err))
	}
	resp.Body = &watchedBody{resp.Body, ctx, &v.heard, end}
	if resp.StatusCode == http.StatusOK && resp.Header.Get(versionHeader) != "" {
		return resp, nil
	}
	defer resp.Body.Close()
	if err := c.read(resp, nil); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the agent answered with HTTP %d", resp.StatusCode)
}

// listen gives an order, and passes the tidings of it on until the report comes.
func (c *Client) listen(ctx context.Context, path string, body io.Reader, progress func(done, total int64), report any) error {
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
			return fmt.Errorf("the agent stopped in the middle of it: %w", err)
		}
		var n tidings
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

// Backup implements Upkeep.
func (c *Client) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r store.BackupReport, err error) {
	resp, err := c.order(ctx, "/api/db/backup", nil)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	total, _ := strconv.ParseInt(resp.Header.Get(totalHeader), 10, 64)
	_, err = io.CopyBuffer(struct{ io.Writer }{&counted{w: w, total: total, progress: progress}}, resp.Body, make([]byte, 256<<10))
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case err != nil:
		return r, fmt.Errorf("receive the backup: %w", err)
	}
	if text := resp.Trailer.Get(reportTrailer); text != "" {
		return r, json.Unmarshal([]byte(text), &r)
	}
	var p problem
	if json.Unmarshal([]byte(resp.Trailer.Get(problemTrailer)), &p) == nil && p.Code != "" {
		return r, p.err()
	}
	return r, errors.New("the agent stopped in the middle of the backup")
}

// counted tells how much went through it.
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
