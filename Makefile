# Everything here is a plain go command; see there for more flags.

.PHONY: test race bench bench-large

test:
	go test ./...

race:
	CGO_ENABLED=1 go test -race ./...

# The package store, of which `go test ./...` leaves out what is costly: more random days, and on PostgreSQL the tests of
# many stores, days, users or transactions. About five minutes; needs PostgreSQL installed (apt-get install postgresql).
#	PERSONASYNC_SEEDS=50 make store-in-full	so many random days of each kind
#	PERSONASYNC_TORTURE_SEED=4726765 make store-in-full	other days than always
.PHONY: store-in-full
store-in-full: export PERSONASYNC_IN_FULL = 1
store-in-full: export PERSONASYNC_NEED_POSTGRES = 1
store-in-full:
	go test -count=1 -timeout=12m ./store

# About 25 minutes; writes docs/BENCHMARKS.md. `go run -C bench . -quick` takes one.
bench:
	go run -C bench .

# With 20 million users stored, too: about an hour and 20 GB of disk.
bench-large:
	go run -C bench . -large

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

# The packages in a real systemd, booted for it: deb, rpm, and the program without one. As root; about five
# minutes.
#	make systemd-test LIVES=rpm	one of them
systemd-test:
	packaging/test/systemd

# Everything that is to be survived, the long way: kill -9, power loss, a lost host, a failing disk, damage, a
# clock that is set, and all that MoEngage, the network and an operator may do. See docs/RELIABILITY.md. Each
# test prints its seed. Power loss, host, disk and clock take root and /dev/fuse; the host takes loop devices too.
#	make torture SEED=4726765 BOX=2m	the same random choices again, at most two minutes a test
.PHONY: torture
torture: export PERSONASYNC_TORTURE = 1
torture: export PERSONASYNC_TORTURE_SEED = $(SEED)
torture: export PERSONASYNC_TORTURE_BOX = $(BOX)
torture:
	go test -count=1 -timeout=1h -parallel=4 -v -run='^(TestKilled|TestDamage|TestEverything|TestADiscardOnAnyDay|TestAgainstAModel|TestTheGuardAgainstAModel|TestALargeImport)' ./cli/personasync ./store
	go test -count=1 -timeout=2h -v -run='^(TestMoEngageEndsAsTheModelSays|TestTheWholeWay|TestAnOutage)' ./sync
	cd torture && go test -count=1 -timeout=1h -parallel=5 -v .

# Two virtual machines with DRBD between them, of which one is killed under load. As root; about five minutes.
.PHONY: drbd-test
drbd-test:
	torture/drbd/run

# Three agents that share a store in PostgreSQL lose agents, servers and networks: see docs/RELIABILITY.md. About a
# quarter of an hour. Needs PostgreSQL installed (apt-get install postgresql); each run has servers of its own.
#	make torture-postgres SEED=4726765 BOX=5m	the same random choices again, at most five minutes
.PHONY: torture-postgres
torture-postgres: export PERSONASYNC_TORTURE = 1
torture-postgres: export PERSONASYNC_TORTURE_SEED = $(SEED)
torture-postgres: export PERSONASYNC_TORTURE_BOX = $(BOX)
torture-postgres: export PERSONASYNC_NEED_POSTGRES = 1
torture-postgres:
	cd torture && go test -count=1 -timeout=1h -parallel=2 -v -run='^TestPostgres' .

# One agent under half the load that it can take, for an hour, while MoEngage comes and goes: it must not
# grow. Ends by itself.
#	make soak BOX=20m RATE=1500 SAMPLES=soak.csv	as long, at so many events a second, with a row each 5 s
.PHONY: soak
soak: export PERSONASYNC_SOAK = $(or $(BOX),1h)
soak: export PERSONASYNC_SOAK_RATE = $(RATE)
soak: export PERSONASYNC_SOAK_SAMPLES = $(abspath $(SAMPLES))
soak:
	cd torture && go test -count=1 -timeout=0 -v -run='^TestSoak$$' .
