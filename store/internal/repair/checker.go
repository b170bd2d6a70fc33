package repair

import (
	"context"

	"personasync/store/internal/state"
)

// checker is one check. It reads the files one after the other.
type checker struct {
	ctx         context.Context
	halt        func() error // why to give up; nil to go on
	progress    func(done, total int64)
	done, total int64
	steps       int
	report      *CheckReport

	st   *state.State // of the state file; nil while it is unknown
	next uint64       // number of the record that should come next in the inbox; 0: unknown
}

func newChecker(ctx context.Context, r *CheckReport, progress func(done, total int64)) *checker {
	r.Findings, r.DamagedFiles = []Finding{}, []string{}
	return &checker{ctx: ctx, progress: progress, report: r}
}

// step counts a key and its value as read. Now and then it returns an error if the check is to end.
func (c *checker) step(k, v []byte) error {
	c.done += int64(len(k) + len(v))
	if c.steps++; c.steps%1024 != 0 {
		return nil
	}
	c.tell(0)
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if c.halt == nil {
		return nil
	}
	return c.halt()
}

func (c *checker) tell(more int64) {
	if c.done += more; c.progress != nil {
		c.progress(min(c.done, c.total), c.total)
	}
}
