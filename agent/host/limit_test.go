package host

import "testing"

func TestConnectionsLeaveDescriptorsForFiles(t *testing.T) {
	for _, c := range []struct {
		descriptors   uint64
		ingest, admin int
	}{{1 << 30, maxAtIngest, maxAtAdmin}, {20_000, maxAtIngest, maxAtAdmin}, {4096, 2048, 512}, {1024, 512, 128}} {
		if ingest, admin := limitsWithin(c.descriptors); ingest != c.ingest || admin != c.admin {
			t.Errorf("of %d descriptors ingest gets %d, an admin listener %d", c.descriptors, ingest, admin)
		}
	}
}
