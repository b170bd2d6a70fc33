package term

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestASignalEndsAReadOfStandardInput: Ctrl-C at a question, or at `preview -`, was not heard before it was typed twice.
func TestASignalEndsAReadOfStandardInput(t *testing.T) {
	silent, w := io.Pipe()
	defer w.Close()
	ctx, stop := context.WithCancel(t.Context())
	in := Until(ctx, silent)
	stop()
	if n, err := in.Read(make([]byte, 8)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("read %d, %v", n, err)
	}
	text, err := io.ReadAll(Until(t.Context(), strings.NewReader("yes\n")))
	if string(text) != "yes\n" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
}
