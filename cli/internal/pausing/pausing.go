package pausing

import (
	"fmt"
	"time"

	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

// New is the pause of a computation, or with "" of everything, that begins now and ends after length; 0: when it is resumed.
func New(computation, why, by string, length time.Duration) (p domain.Pause, err error) {
	if why == "" {
		return p, exit.Usage("say why, for everybody who finds the agent paused: `personasync outbox pause --why campaign-freeze%s`", flag(computation))
	}
	p = domain.Pause{Computation: computation, Since: time.Now().UTC(), Why: why, By: by}
	if length > 0 {
		p.Until = p.Since.Add(length)
	}
	return p, nil
}

// End returns when a pause ends.
func End(p *domain.Pause) string {
	if p.Until.IsZero() {
		return "until `personasync outbox resume" + term.Plain(flag(p.Name())) + "`"
	}
	return "until " + term.Second(domain.Timestamp(p.Until)) + " UTC"
}

// Begun says that a pause is in force.
func Begun(w *term.Terminal, p *domain.Pause) error {
	_, err := fmt.Fprintf(w.Out, "%s is paused %s: %s\n", what(p.Name()), End(p), term.Plain(p.Why))
	return err
}

// Over says that a pause was ended.
func Over(w *term.Terminal, was *domain.Pause) error {
	_, err := fmt.Fprintf(w.Out, "sending%s again, after a pause of %s (%s)\n", of(was.Name()), term.Ago(int64(time.Since(was.Since).Seconds())), term.Plain(was.Why))
	return err
}

// None is the error where nothing was paused.
func None(computation string) error {
	return exit.Nothing("%s is not paused: `personasync status` says what is, and how MoEngage answers", what(computation))
}

// Remark says who paused a computation, since when, until when and why.
func Remark(w *term.Terminal, p *domain.Pause, held uint64) {
	by := ""
	if p.By != "" {
		by = " by " + term.Plain(p.By)
	}
	w.Remark("%s was paused%s at %s, %s: %s; %s held", term.Plain(p.Name()), by, term.Minute(domain.Timestamp(p.Since)), End(p), term.Plain(p.Why), term.Plural(held, "change"))
}

func what(name string) string { return "sending" + of(name) }

func of(name string) string {
	if name == "" {
		return ""
	}
	return " of " + term.Plain(name)
}

func flag(name string) string {
	if name == "" {
		return ""
	}
	return " --computation " + store.Arguments(name)
}
