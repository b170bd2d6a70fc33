package wire_test

import (
	"testing"

	"personasync/store/internal/wire"
)

// TestFramesOfAChunkThatIsCutShort: the frames before the cut are read, and Err says that something is missing.
func TestFramesOfAChunkThatIsCutShort(t *testing.T) {
	chunk := wire.JoinFrames([][]byte{[]byte("one"), []byte("two")})
	for cut := range len(chunk) {
		n, f := 0, wire.Frames{Rest: chunk[:len(chunk)-cut]}
		for f.Next() {
			n++
		}
		whole := cut == 0 || cut == len(chunk)/2 // two frames of one length
		if want := (len(chunk) - cut) / (len(chunk) / 2); n != want || whole != (f.Err == nil) {
			t.Errorf("%d bytes cut off: %d frames, want %d, %v", cut, n, want, f.Err)
		}
		if list, ok := wire.SplitFrames(chunk[:len(chunk)-cut]); len(list) != n || ok != whole {
			t.Errorf("%d bytes cut off: split into %q, whole %v", cut, list, ok)
		}
	}
}
