package api

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"personasync/store/domain"
)

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
				yield("", fmt.Errorf("%w: receive the list: %w", ErrUsage, err))
				return
			}
			if n == 0 || !yield(string(buf[:n]), nil) {
				return
			}
		}
	}
}
