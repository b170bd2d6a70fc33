package host

import "testing"

func TestConnectionsLeaveDescriptorsForFiles(t *testing.T) {
	for _, c := range []struct {
		descriptors  uint64
		door, window int
	}{{1 << 30, maxAtDoor, maxAtWindow}, {20_000, maxAtDoor, maxAtWindow}, {4096, 2048, 512}, {1024, 512, 128}} {
		if door, window := limitsWithin(c.descriptors); door != c.door || window != c.window {
			t.Errorf("of %d descriptors the door gets %d, a window %d", c.descriptors, door, window)
		}
	}
}
