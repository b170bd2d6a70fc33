package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// kept is a ledger in memory.
type kept struct {
	mu     sync.Mutex
	list   map[string]store.Notices
	writes int
	err    error
}

func (k *kept) Notices() (list []store.Notices, _ error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.list {
		list = append(list, n)
	}
	return list, nil
}

func (k *kept) SetNotices(_ context.Context, n store.Notices) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.writes++; k.list == nil {
		k.list = map[string]store.Notices{}
	}
	if k.err == nil {
		k.list[n.Receiver] = n
	}
	return k.err
}

func (k *kept) copy() *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &kept{list: map[string]store.Notices{}}
	for name, n := range k.list {
		c.list[name] = n
	}
	return c
}

// world is an agent's conditions, and a receiver.
type world struct {
	mu     sync.Mutex
	status condition.Status
	err    error
	told   []string
	ids    []string
	answer func(*Message) error
}

func (w *world) set(names ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Conditions = holds(names...)
}

func (w *world) look(context.Context) (condition.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status, w.err
}

func (w *world) deliver(ctx context.Context, m *Message) (string, error) {
	w.mu.Lock()
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		if err := answer(m); err != nil {
			return "", err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told, w.ids = append(w.told, m.Condition+" "+m.State), append(w.ids, m.ID)
	return "", nil
}

func (w *world) was() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.told, ", ")
}

// begin runs a notifier whose command is w until end is called.
func (w *world) begin(ledger Ledger) (n *Notifier, end func()) {
	c := Config{Command: []string{"x"}, After: 2 * time.Minute, Host: "h"}
	n = New(c, w.look, ledger, slog.New(slog.DiscardHandler))
	n.tellers[1].configure(c, w)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	return n, func() { cancel(); <-done }
}

func TestNotifierTellsWhatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ledger := &world{}, &kept{}
		n, end := w.begin(ledger)
		w.set("lag", "notify_failing")
		time.Sleep(time.Minute)
		if w.was() != "" {
			t.Errorf("after a minute: %s", w.was())
		}
		time.Sleep(2 * time.Minute)
		w.set()
		time.Sleep(time.Minute)
		w.set("lag")
		time.Sleep(time.Hour)
		if w.was() != "lag began" {
			t.Errorf("told %s", w.was())
		}
		ledger.mu.Lock()
		if ledger.writes > 20 { // an hour has hundreds of looks
			t.Errorf("the ledger was written %d times", ledger.writes)
		}
		ledger.mu.Unlock()
		if r := n.Receivers(); len(r) != 1 || r[0].Name != "command" || r[0].Sent != 1 || r[0].Waiting != 0 {
			t.Errorf("receivers %+v", r)
		}
		end()
		_, end = w.begin(ledger)
		time.Sleep(time.Hour)
		w.set()
		time.Sleep(time.Hour)
		end()
		if w.was() != "lag began, lag ended" {
			t.Errorf("with a restart, told %s", w.was())
		}
	})
}

// TestAKillRepeatsAtMostTheMessageInFlight: between deciding and telling nothing is lost, and between telling and noting
// the one message is told again, with its id.
func TestAKillRepeatsAtMostTheMessageInFlight(t *testing.T) {
	for _, arrives := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w, ledger := &world{}, &kept{}
			var then *kept
			w.answer = func(m *Message) error {
				if then == nil {
					then = ledger.copy() // what is on disk when the process is killed here
					if !arrives {
						return errors.New("killed")
					}
				}
				return nil
			}
			w.set("lag")
			_, end := w.begin(ledger)
			time.Sleep(2*time.Minute + 2*time.Second)
			end()
			_, end = w.begin(then)
			time.Sleep(time.Second)
			synctest.Wait()
			want := "lag began"
			if arrives {
				want = "lag began, lag began"
			}
			if w.was() != want || arrives && w.ids[0] != w.ids[1] {
				t.Errorf("arrived before: %v: told %s, ids %v", arrives, w.was(), w.ids)
			}
			time.Sleep(time.Hour)
			end()
			if w.was() != want {
				t.Errorf("later, told %s", w.was())
			}
		})
	}
}

// TestADeadReceiverIsToldTheNewestStateAlone: it is tried with bounded pauses, and its condition says so.
func TestADeadReceiverIsToldTheNewestStateAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := &world{}, 0
		w.answer = func(*Message) error { tries++; return &failure{why: "it answered 500"} }
		w.set("lag", "held")
		n, end := w.begin(&kept{})
		defer end()
		time.Sleep(time.Hour)
		r := n.Receivers()[0]
		if r.Failures != tries || r.Waiting != 2 || r.LastError != "it answered 500" || r.FailingSince == "" || tries < 12 || tries > 40 {
			t.Errorf("in an hour %d tries, %+v", tries, r)
		}
		s := condition.Status{Notify: condition.NewNotify([]string{"command"}, nil, n.Receivers())}
		if s.Notify.Receivers[0].Failures != tries {
			t.Errorf("the status has %+v", s.Notify)
		}
		w.set("held", "parked")
		time.Sleep(10 * time.Minute)
		w.mu.Lock()
		w.answer = nil
		w.mu.Unlock()
		time.Sleep(6 * time.Minute)
		if w.was() != "held began, parked began" {
			t.Errorf("told %s", w.was())
		}
		if r := n.Receivers()[0]; r.Failures != 0 || r.FailingSince != "" || r.LastError == "" {
			t.Errorf("recovered as %+v", r)
		}
	})
}

// TestAReceiverThatAsksForAPauseGetsIt: up to a quarter of an hour.
func TestAReceiverThatAsksForAPauseGetsIt(t *testing.T) {
	for asked, least := range map[time.Duration]time.Duration{0: 2500 * time.Millisecond, time.Minute: time.Minute, 24 * time.Hour: 15 * time.Minute} {
		for range 100 { // it is drawn by lot
			if pause := retryPause(1, asked); pause < least || pause > max(least, firstRetry) {
				t.Fatalf("asked for %v, it pauses for %v", asked, pause)
			}
		}
	}
	if pause := retryPause(1_000_000, 0); pause > longestRetry || pause < longestRetry/2 {
		t.Errorf("after very many failures it pauses for %v", pause)
	}
}

// TestASlowReceiverDelaysNothing: neither the other one, nor a look, nor a reload, nor a stop by more than the answer may take.
func TestASlowReceiverDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		n, end := w.begin(&kept{})
		c := n.config
		c.URL = "http://127.0.0.1:1/"
		n.tellers[0].configure(c, hanging{})
		w.set("lag")
		time.Sleep(3 * time.Minute)
		if w.was() != "lag began" {
			t.Errorf("the other one was told %q", w.was())
		}
		before := time.Now()
		n.Reconfigure(n.config)
		if r := n.Receivers(); len(r) != 1 {
			t.Errorf("receivers %+v", r)
		}
		end()
		if waited := time.Since(before); waited > stopPatience {
			t.Errorf("reload and stop took %v", waited)
		}
	})
}

// hanging is a receiver that never answers.
type hanging struct{}

func (hanging) deliver(ctx context.Context, _ *Message) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// TestAFullStoreDoesNotSilence: what cannot be recorded is told, and recorded later.
func TestAFullStoreDoesNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ledger := &world{}, &kept{err: errors.New("the disk is full")}
		w.set("disk")
		_, end := w.begin(ledger)
		time.Sleep(time.Hour)
		if w.was() != "disk began" {
			t.Errorf("told %s", w.was())
		}
		ledger.mu.Lock()
		ledger.err = nil
		ledger.mu.Unlock()
		time.Sleep(time.Minute)
		end()
		if open := ledger.list["command"].Open; len(open) != 1 || open[0].Told != began {
			t.Errorf("recorded %+v", ledger.list)
		}
	})
}

// TestAStartIsNoCondition: what holds is told once the agent is ready.
func TestAStartIsNoCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{status: condition.Status{Unready: condition.Starting}}
		w.set("lag")
		_, end := w.begin(&kept{})
		defer end()
		if time.Sleep(10 * time.Minute); w.was() != "" {
			t.Errorf("during the start, told %s", w.was())
		}
		w.mu.Lock()
		w.status.Unready = ""
		w.mu.Unlock()
		if time.Sleep(10 * time.Minute); w.was() != "lag began" {
			t.Errorf("told %s", w.was())
		}
	})
}

// TestTheTimesOfAFailureAreThoseOfTheFirstAndTheLast, to the second.
func TestTheTimesOfAFailureAreThoseOfTheFirstAndTheLast(t *testing.T) {
	h := new(health)
	for _, after := range []time.Duration{7900, 8900, 9900} {
		h.broke(fmt.Errorf("failure %d", after), noon.Add(after*time.Millisecond))
	}
	want := condition.Receiver{Name: "slack", Failed: 3, Failures: 3, FailingSince: domain.Timestamp(noon.Add(7 * time.Second)), LastError: "failure 9900", LastErrorAt: domain.Timestamp(noon.Add(9 * time.Second))}
	if got := h.receiver("slack"); *got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestAStoreWithoutAnswerIsACondition: and the others stay as they were.
func TestAStoreWithoutAnswerIsACondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.set("lag")
		_, end := w.begin(&kept{})
		defer end()
		time.Sleep(3 * time.Minute)
		w.mu.Lock()
		w.err = errors.New("damaged")
		w.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if w.was() != "lag began, store_unreadable began" {
			t.Errorf("told %s", w.was())
		}
	})
}

type deliveryFunc func(*Message) error

func (f deliveryFunc) deliver(_ context.Context, m *Message) (string, error) { return "", f(m) }

// TestTheAnswerToAMessageIsAwaitedDuringTheStop: the receiver had taken it, and the next agent told it again.
func TestTheAnswerToAMessageIsAwaitedDuringTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ledger := &world{}, &kept{}
		n, end := w.begin(ledger)
		c := n.config
		c.URL = "http://127.0.0.1:1/"
		taken := make(slow)
		n.tellers[0].configure(c, taken)
		w.set("lag")
		<-taken
		end()
		if open := ledger.list[toURL].Open; len(open) != 1 || open[0].Told != began {
			t.Errorf("recorded %+v", open)
		}
	})
}

// slow is a receiver that says when it has taken a message, and answers later.
type slow chan struct{}

func (s slow) deliver(ctx context.Context, _ *Message) (string, error) {
	s <- struct{}{}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(stopPatience / 2):
		return "", nil
	}
}

// TestAMessageTakenDuringTheStopIsRecorded: the agent that started next told it again.
func TestAMessageTakenDuringTheStopIsRecorded(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	k := &kept{}
	teller := newTeller(toURL, k, slog.New(slog.DiscardHandler))
	teller.load(store.Notices{}, time.Now())
	teller.configure(Config{}, deliveryFunc(func(*Message) error { stop(); return nil }))
	teller.observe([]condition.Condition{{Name: "parked"}}, time.Now())
	teller.run(ctx)
	if open := k.list[toURL].Open; len(open) != 1 || open[0].Told != began {
		t.Errorf("recorded %+v", open)
	}
}
