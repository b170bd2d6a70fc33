package api

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"personasync/agent/api/internal/socket"
	"personasync/store/domain"
)

// A list of users crosses the socket as its ids, each after its length as a varint, with a zero after the last. So a list
// that was cut off is not taken for a short one.

// sendUsers writes a list, and its end if there was no error.
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

// receiveUsers reads a list. An unfinished one ends with socket.ErrUsage.
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
				yield("", fmt.Errorf("%w: receive the list: %w", socket.ErrUsage, err))
				return
			}
			if n == 0 || !yield(string(buf[:n]), nil) {
				return
			}
		}
	}
}
