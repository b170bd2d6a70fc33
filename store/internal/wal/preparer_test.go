package wal

import (
	"errors"
	"testing"
	"testing/synctest"
)

// TestOneSegmentIsPreparedAtATime, and one that could not be made is made at the next request.
func TestOneSegmentIsPreparedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := preparer{ready: make(chan *Segment, 1)}
		p.start(func() (*Segment, error) { return nil, errors.New("the disk is full") })
		if p.take() != nil {
			t.Error("one that could not be made is ready")
		}
		begun, goOn := 0, make(chan struct{})
		create := func() (*Segment, error) {
			begun++
			<-goOn
			return new(Segment), nil
		}
		ask := func(when string, want int) {
			t.Helper()
			p.start(create)
			if synctest.Wait(); begun != want {
				t.Fatalf("%s, %d are begun, want %d", when, begun, want)
			}
		}
		ask("at first", 1)
		ask("while one is being made", 1)
		close(goOn)
		ask("while one is ready", 1)
		if p.take() == nil || p.take() != nil {
			t.Error("one was made, and it is taken once")
		}
		ask("once it is taken", 2)
		p.take()
	})
}
