# Everything here is a plain go command; see there for more flags.

.PHONY: test race bench bench-large

test:
	go test ./...

race:
	CGO_ENABLED=1 go test -race ./...

# About 25 minutes; writes docs/BENCHMARKS.md. `go run ./bench -quick` takes one.
bench:
	go run ./bench

# With 20 million users stored, too: about an hour and 20 GB of disk.
bench-large:
	go run ./bench -large

# The static binary with its deb and rpm, in dist/.
.PHONY: package systemd-test release release-test
package:
	packaging/build

# Everything that is released: both architectures, checksums, SBOM. The version comes from git.
release:
	packaging/release

# Two clean clones give the same bytes.
release-test:
	packaging/test/reproducible

# The packages in a real systemd, booted for it. As root; about two minutes.
systemd-test:
	packaging/test/systemd
