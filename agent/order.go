package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// Order is what an operator wants done to the memberships of one computation.
type Order struct {
	Verb   string // import, baseline, reconcile, close, release, discard, adopt, forget
	Key    string // of the computation, or its id
	ID     string // adopt: of the computation that continues it
	AsOf   time.Time
	Events bool
	DryRun bool

	// Users is the list of an import or a baseline. Its first error ends the order with nothing changed.
	Users iter.Seq2[string, error]
}

// Orders carries out what operators order: the running agent does, or the command itself on the files
// of a stopped one. progress may be nil.
type Orders interface {
	Order(ctx context.Context, o Order, progress func(done, total int64)) (store.MembershipReport, error)

	// Forget erases a user, and returns when the bytes are gone.
	Forget(ctx context.Context, user string) (store.ForgetReport, error)
}

var (
	_ Orders = orders{}
	_ Orders = (*Client)(nil)
	_ Orders = files{}
)

// OpenOrders finds whoever can carry out an order: the agent of c when it runs, else its files. where
// says which in a sentence.
func OpenOrders(ctx context.Context, c *config.Config, version string) (o Orders, done io.Closer, where string, err error) {
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

// orders carries them out on an open store.
type orders struct {
	store *store.Store
	rules func() domain.Rules
}

// Order implements Orders.
func (d orders) Order(ctx context.Context, o Order, progress func(done, total int64)) (store.MembershipReport, error) {
	switch o.Verb {
	case "import", "baseline":
		return d.store.Import(ctx, store.Import{
			Key: o.Key, AsOf: o.AsOf, Events: o.Events, DryRun: o.DryRun, Baseline: o.Verb == "baseline",
			Create: isConfigured(d.rules(), o.Key), Users: o.Users, Progress: progress,
		})
	case "reconcile":
		return d.store.Reconcile(ctx, o.Key, o.Events, o.DryRun, progress)
	case "close":
		return d.store.CloseAudience(ctx, o.Key, o.Events, o.DryRun, progress)
	case "adopt":
		return d.store.Adopt(ctx, o.Key, o.ID, o.DryRun, progress)
	case "forget":
		return d.store.Remove(ctx, o.Key, o.DryRun)
	case "release", "discard":
		return d.store.Decide(ctx, o.Key, o.Verb == "discard", o.DryRun, progress)
	}
	return store.MembershipReport{}, fmt.Errorf("%w: there is no order %q", errUsage, o.Verb)
}

// Forget implements Orders.
func (d orders) Forget(ctx context.Context, user string) (store.ForgetReport, error) {
	return d.store.Forget(ctx, user)
}

// Forget implements Orders.
func (f files) Forget(ctx context.Context, user string) (r store.ForgetReport, err error) {
	err = f.open(ctx, "user forget", func(s *store.Store) error {
		r, err = s.Forget(ctx, user)
		return err
	})
	return r, err
}

// isConfigured reports whether a section of the configuration speaks of a key: then it may have
// members before its first event. An id says nothing of the key that belongs to it.
func isConfigured(rules domain.Rules, key string) bool {
	return slices.ContainsFunc(rules.Sections, func(s domain.Section) bool { return s.Key == key && s.ID == "" })
}

// Order implements Orders. It applies what the agent left in its inbox first, as its start would.
func (f files) Order(ctx context.Context, o Order, progress func(done, total int64)) (r store.MembershipReport, err error) {
	err = f.open(ctx, "audience "+o.Verb, func(s *store.Store) error {
		if err := s.SetRules(ctx, f.config.Rules()); err != nil {
			return fmt.Errorf("record the rules: %w", err)
		}
		r, err = orders{s, f.config.Rules}.Order(ctx, o, progress)
		return err
	})
	return r, err
}

// open opens the store of a stopped agent, with what was received applied, for a command that the lock
// names to others. A command that has the files is waited for.
func (f files) open(ctx context.Context, command string, do func(*store.Store) error) error {
	if err := f.config.Refused(); err != nil {
		return fmt.Errorf("the agent is not running, and its files are worked on with a faultless configuration alone: %w", err)
	}
	if err := checkOwner(f.config.DataDir); err != nil {
		return err
	}
	options := storeOptions(f.config, slog.New(slog.DiscardHandler))
	options.Command, options.Start = command, ctx
	var s *store.Store
	err := waitForCommand(ctx, f.config.DataDir, func(store.Holding, time.Duration) {}, func() (err error) {
		v, err := store.OpenReadOnly(f.config.DataDir) // Open would make what is missing
		if err != nil {
			return err
		}
		if err := v.Close(); err != nil {
			return err
		}
		s, err = store.Open(f.config.DataDir, options)
		return err
	})
	if err != nil {
		return f.explain(err)
	}
	if err = s.CaughtUp(ctx); err == nil {
		err = do(s)
	}
	return errors.Join(err, s.Close())
}

// A list crosses the socket as its ids, each behind its length, and a zero behind the last: a client
// that goes away in the middle is told from a list that is short.

// sendUsers writes a list as it crosses the socket.
func sendUsers(w io.Writer, users iter.Seq2[string, error]) error {
	out := bufio.NewWriterSize(w, 64<<10)
	for user, err := range users {
		if err != nil {
			return err
		}
		if user == "" {
			return errors.New("a list has an empty id")
		}
		out.Write(binary.AppendUvarint(out.AvailableBuffer(), uint64(len(user))))
		if _, err := out.WriteString(user); err != nil {
			return err
		}
	}
	out.WriteByte(0)
	return out.Flush()
}

// receiveUsers reads it.
func receiveUsers(r io.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		buf := make([]byte, domain.MaxUserID)
		for {
			n, err := binary.ReadUvarint(in)
			if err == nil && n > domain.MaxUserID {
				err = fmt.Errorf("an id of %d bytes", n)
			}
			if err == nil {
				_, err = io.ReadFull(in, buf[:n])
			}
			if err != nil {
				yield("", fmt.Errorf("%w: receive the list: %w", errUsage, err))
				return
			}
			if n == 0 || !yield(string(buf[:n]), nil) {
				return
			}
		}
	}
}

// carryOut is the door of orders on the socket.
func (a *Admin) carryOut(w http.ResponseWriter, r *http.Request) {
	o, err := readOrder(r)
	if err != nil {
		p, status := newProblem(err)
		writeProblem(w, status, p)
		return
	}
	a.tell(w, r, func(ctx context.Context, progress func(done, total int64)) (any, error) {
		return a.Orders.Order(ctx, o, progress)
	})
}

func readOrder(r *http.Request) (o Order, err error) {
	q := r.URL.Query()
	o = Order{Verb: q.Get("verb"), Key: q.Get("key"), ID: q.Get("id"), Events: q.Has("events"), DryRun: q.Has("dry_run"), Users: receiveUsers(r.Body)}
	if text := q.Get("as_of"); text != "" {
		ns, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return o, fmt.Errorf("%w: as_of %q is no time in nanoseconds", errUsage, text)
		}
		o.AsOf = time.Unix(0, ns)
	}
	return o, nil
}

// forgetUser is the door of a user's erasure. The id comes in the body, so that no log of requests has it.
func (a *Admin) forgetUser(w http.ResponseWriter, r *http.Request) {
	var who forgetOrder
	if err := json.NewDecoder(io.LimitReader(r.Body, maxOrder)).Decode(&who); err != nil || who.User == "" || len(who.User) > domain.MaxUserID {
		p, status := newProblem(fmt.Errorf("%w: it names no user", errUsage))
		writeProblem(w, status, p)
		return
	}
	a.tell(w, r, func(ctx context.Context, _ func(done, total int64)) (any, error) {
		return a.Orders.Forget(ctx, who.User)
	})
}

type forgetOrder struct {
	User string `json:"user"`
}

// Forget implements Orders.
func (c *Client) Forget(ctx context.Context, user string) (r store.ForgetReport, err error) {
	body, err := json.Marshal(forgetOrder{user})
	if err != nil {
		return r, err
	}
	return r, c.listen(ctx, "/api/user/forget", bytes.NewReader(body), nil, &r)
}

// Order implements Orders.
func (c *Client) Order(ctx context.Context, o Order, progress func(done, total int64)) (r store.MembershipReport, err error) {
	q := url.Values{"verb": {o.Verb}, "key": {o.Key}, "id": {o.ID}}
	if o.Events {
		q.Set("events", "")
	}
	if o.DryRun {
		q.Set("dry_run", "")
	}
	var body io.Reader
	if o.Users != nil {
		q.Set("as_of", strconv.FormatInt(o.AsOf.UnixNano(), 10))
		pipe, in := io.Pipe()
		sent := make(chan struct{})
		defer func() { _ = pipe.Close(); <-sent }()
		go func() {
			defer close(sent)
			_ = in.CloseWithError(sendUsers(in, o.Users))
		}()
		body = pipe
	}
	return r, c.listen(ctx, "/api/order?"+q.Encode(), body, progress, &r)
}
