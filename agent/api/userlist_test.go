package api

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"personasync/store/domain"
)

// ids is a list of users that ends with err, or without one.
func ids(list []string, err error) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, id := range list {
			if !yield(id, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

// collect reads a list to its end, or to its first error.
func collect(list iter.Seq2[string, error]) (users []string, err error) {
	for user, err := range list {
		if err != nil {
			return users, err
		}
		users = append(users, user)
	}
	return users, nil
}

func TestAListCrossesTheSocketWhole(t *testing.T) {
	for _, list := range [][]string{nil, {"a"}, {"a", strings.Repeat("ü", domain.MaxUserID/2), "with\nline\x00and zero"}} {
		var wire bytes.Buffer
		if err := sendUsers(&wire, ids(list, nil)); err != nil {
			t.Fatal(err)
		}
		got, err := collect(receiveUsers(&wire))
		if err != nil || !slices.Equal(got, list) {
			t.Errorf("%q arrived as %q, %v", list, got, err)
		}
	}
}

// TestAListThatIsCutIsNoShortList: a client that goes away must not make the missing users leave the audience.
func TestAListThatIsCutIsNoShortList(t *testing.T) {
	var wire bytes.Buffer
	if err := sendUsers(&wire, ids([]string{"ann", "bob"}, nil)); err != nil {
		t.Fatal(err)
	}
	for n := range wire.Len() {
		if got, err := collect(receiveUsers(bytes.NewReader(wire.Bytes()[:n]))); !errors.Is(err, ErrUsage) {
			t.Errorf("%d of %d bytes arrived as %q, %v", n, wire.Len(), got, err)
		}
	}
}

func TestAListThatCannotBeSentIsNotEnded(t *testing.T) {
	broken := errors.New("the file ends in the middle")
	for name, list := range map[string]iter.Seq2[string, error]{
		"the list breaks off": ids([]string{"ann"}, broken),
		"an id is empty":      ids([]string{"ann", "", "bob"}, nil),
	} {
		var wire bytes.Buffer
		if err := sendUsers(&wire, list); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := collect(receiveUsers(&wire)); err == nil {
			t.Errorf("%s: it arrived as a whole list", name)
		}
	}
	if err := sendUsers(writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe }), ids([]string{"a"}, nil)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("to a socket that is gone: %v", err)
	}
}

// TestAnIDThatIsTooLongIsRefused: the reader allocates no more than the longest id.
func TestAnIDThatIsTooLongIsRefused(t *testing.T) {
	var wire bytes.Buffer
	if err := sendUsers(&wire, ids([]string{strings.Repeat("x", domain.MaxUserID+1)}, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(receiveUsers(&wire)); !errors.Is(err, ErrUsage) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
