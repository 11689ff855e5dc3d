# Two commands to begin with:
#   make demo    builds, and runs three pods as processes on an embedded Lease API   (ARGS=--plain, ARGS="--data DIR")
#   make test    everything that needs no cluster
# The rest:
#   make e2e     the real Kubernetes: kind where Docker runs, else a cluster of our own (root, Debian packages, Go);
#                make e2e KUBECONFIG=FILE IMAGES=registry.example/prefix for a cluster of yours
#   make nightly what is too long for each change: more seeds, backups on servers of S3 and Azure, half an hour of chaos, updates
#                from the last release and back, updates to a later format, make openapi, make semver, make e2e with all scenarios,
#                20 leaves of each kind, ten minutes of chaos, the update from the last release's chart and the examples in Java and
#                Node, on IPv6 alone, a crowd of electors, and make arm64
#   make openapi asks a validator, a generated client and Schemathesis whether /openapi.json is true   (ARGS=--quick; needs Python)
#   make chaos   breaks everything by a seed, and checks what clients saw             (ARGS="--minutes 20 --seed 7")
#   make skew    updates from the last release and back, one program after the other    (ARGS="--minutes 20 --seed 7", ARGS=--quick)
#   make formats updates to a store with a made-up later format, and the ways back      (part of make nightly)
#   make bench   our store and sidecar beside their peers, release build               (ARGS="--quick"; docs/bench.md)
#                ARGS=crowd: many electors at one real API server                      (docs/scale.md)
#   make backup-servers   an S3 and an Azure server, for tests of backups            (needs Go and Node)
#   make peers   builds the peers that are Go modules, for make bench
#   make golden  writes the golden files of the unreleased version                    (docs/golden.md)
#   make arm64   cross-builds the images' programs for arm64, and tries them under qemu  (root, Debian 12, debootstrap; part of make nightly;
#                ARGS=--keep, ARGS=--lto)
#   make static-exec   builds a static sidecar, and tries exec with it in roots without glibc  (root; part of make nightly)
#   make msrv    compiles with the oldest Rust that is promised                         (needs rustup and that toolchain)
#   make deny    checks licences, sources and advisories of the dependencies          (ARGS=licenses; needs cargo-deny)
#   make semver  compares what the library offers with the last release        (ARGS="--only list" needs git alone; else cargo-semver-checks)
#   make release-check   what RELEASE.md asks for, up to the push                     (ARGS=--quick leaves out what takes hours)
#   make clean   removes what Cargo built

CARGO ?= cargo
ARGS ?=

.PHONY: demo test lint golden msrv build unit nightly openapi chaos skew last-release formats static-exec arm64 made-up-format bench peers deny semver release-check clean

# Not --quiet: a first build takes minutes, and says so by what it compiles.
demo:
	@$(CARGO) build --locked --bin store --bin sidecar --bin backup --bin e2e
	@$(CARGO) run --locked --quiet --bin e2e -- demo $(ARGS)

test: lint build unit chart

# Names the step, and says how long it took: CI's log is read by people.
STEP = @sh ./scripts/step.sh

include e2e/e2e.mk

# The oldest Rust that Cargo.toml promises. Not part of `make test`: it compiles everything a second time.
msrv:
	$(STEP) "the oldest Rust" $(CARGO) +$$(sed -n 's/^rust-version = "\(.*\)"$$/\1/p' Cargo.toml) check --locked --workspace --all-targets

lint:
	$(STEP) "one version" sh ./scripts/version.sh
	$(STEP) "one toolchain" sh ./scripts/one-toolchain.sh
	$(STEP) "one k8s-openapi" sh -c 'test "$$(grep -c "^name = \"k8s-openapi\"" Cargo.lock)" = 1'
	$(STEP) "released golden files" sh ./scripts/golden.sh
	$(STEP) "rustfmt" $(CARGO) fmt --all --check
	$(STEP) "clippy" $(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(STEP) "rustdoc" env RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items --quiet

# The process clusters run the programs themselves: build them before the tests look for them. With the tests, and all of the
# workspace each time: alone, or for one package, Cargo chooses other features of the dependencies, and compiles them once more.
build:
	$(STEP) "build" $(CARGO) build --locked --workspace --all-targets --quiet

unit:
	$(STEP) "tests" $(CARGO) test --locked --workspace
	$(STEP) "planted faults" $(CARGO) test --locked --workspace --features leasehold-sim/plants --test planted --test traces

# Writes what differs, and then compares all of it: tests run beside each other, and one may have read what another replaced.
GOLDEN = $(CARGO) test --locked --quiet --workspace --lib --test golden golden
golden:
	$(STEP) "golden files written" env UPDATE_GOLDENFILES=1 $(GOLDEN)
	$(STEP) "golden files compared" $(GOLDEN)

# LEASEHOLD_SIM_START takes other seeds, SEED other faults: give both the date, say, to see something new each night.
SEED ?= 1
nightly:
	$(STEP) "ten minutes of seeds" env LEASEHOLD_SIM_SECONDS=600 $(CARGO) test --locked -p leasehold-sim --test seeds
	$(STEP) "10,000 lives of the agent" env AGENT_SEEDS=10000 $(CARGO) test --locked --release -p leasehold-archive --lib agent
	$(MAKE) backup-servers
	$(STEP) "backups on S3 and Azure" $(CARGO) test --locked -p leasehold-backup --test servers
	$(STEP) "20,000 histories of the data" env MODEL_CASES=20000 $(CARGO) test --locked --release -p leasehold-documents --test model
	$(MAKE) chaos ARGS="--minutes 30 --seed $(SEED)"
	$(MAKE) skew ARGS="--minutes 15 --seed $(SEED)"
	$(MAKE) formats
	$(MAKE) static-exec
	@if [ "$$(id -u)" = 0 ] && command -v debootstrap >/dev/null; then $(MAKE) arm64; else \
	  echo "SKIPPED: programs for arm64: they need root and debootstrap"; fi
	$(MAKE) openapi
	NIGHTLY=1 CHAOS_MINUTES=10 LEAVES=20 UPDATES=3 LAST_RELEASE=1 EXAMPLES=all $(MAKE) e2e
	CLUSTER_FAMILY=ipv6 $(MAKE) e2e ARGS="10-install 20-pods"
	@if [ -x e2e/cluster/bin/kube-apiserver ]; then $(MAKE) peers && $(MAKE) bench ARGS="crowd --apps 100 --durations 15"; else \
	  echo "SKIPPED: a crowd of electors: there is no e2e/cluster/bin/kube-apiserver: e2e/cluster/build.sh"; fi
	$(MAKE) semver

# `exec`: a signal to make then reaches the program that ends what it started. e2e/openapi/README.md
openapi:
	$(CARGO) build --locked --quiet --bin store --bin sidecar --bin e2e
	@exec ./e2e/openapi/run.sh $(ARGS)

chaos:
	$(CARGO) build --locked --quiet --bin store --bin sidecar --bin e2e
	$(CARGO) run --locked --quiet --bin e2e -- chaos $(ARGS)

# The programs of the last release, which e2e/last-release names, from its commit. With them `make test` also tries the shortest
# update; it does not build them, for that takes minutes.
last-release:
	@CARGO="$(CARGO)" sh ./scripts/last-release.sh build

skew: last-release
	$(CARGO) build --locked --quiet --bin store --bin sidecar --bin e2e
	$(CARGO) run --locked --quiet --bin e2e -- skew $(ARGS)

# The store with a later format that is made up. In a folder of its own: with another feature Cargo would compile the ordinary one
# anew. Copied each time, by rename: what is older than the ordinary store is not taken for its equal.
MADE_UP = $(or $(CARGO_TARGET_DIR),target)/made-up-format
made-up-format:
	$(CARGO) build --locked --quiet --workspace --bin store --features leasehold-store/made-up-format --target-dir $(MADE_UP)/build
	cp $(MADE_UP)/build/debug/store $(MADE_UP)/store.new
	mv $(MADE_UP)/store.new $(MADE_UP)/store

# The ordinary programs first, with the tests, so that nothing is compiled twice. `make test` runs these, too, where that store is there.
formats:
	$(CARGO) build --locked --quiet --workspace --bin store --bin sidecar --bin e2e --test process_cluster
	$(MAKE) made-up-format
	$(CARGO) test --locked --workspace --test process_cluster formats

# `make test` runs the same with the ordinary sidecar and its libraries. In a folder of its own: with these flags Cargo compiles
# all of it anew. (With a --target, as in Dockerfile.sidecar.)
STATIC = $(abspath $(or $(CARGO_TARGET_DIR),target))/static
static-exec:
	host=$$(rustc -vV | sed -n 's/^host: //p') && \
	  RUSTFLAGS="-C target-feature=+crt-static" \
	    $(CARGO) build --locked --quiet --workspace --bin sidecar --target "$$host" --target-dir $(STATIC) && \
	  LEASEHOLD_STATIC_SIDECAR="$(STATIC)/$$host/debug/sidecar" $(CARGO) test --locked --workspace --test exec roots

# In a Debian of its own, which has a cross-compiler. What plays the API server is the machine's. Not `exec` in roots without glibc, as
# in static-exec: under qemu its command did not start within a minute, and why is not known.
arm64:
	$(CARGO) build --locked --quiet --workspace --bin store --bin sidecar --bin e2e
	$(STEP) "arm64" env CARGO="$(CARGO)" sh ./scripts/arm64.sh $(ARGS)

bench:
	$(CARGO) build --locked --release --bin store --bin sidecar --bin e2e --bin bench
	$(CARGO) run --locked --release --quiet --bin e2e -- bench $(ARGS)

peers:
	./e2e/bench/peers/build.sh

# Not part of `make test`: the tool is not everywhere, and the advisories come from the network.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || \
	  { echo "make deny: cargo-deny is not installed; install it with: cargo install --locked cargo-deny" >&2; exit 1; }
	$(STEP) "deny" $(CARGO) deny --locked --workspace check --hide-inclusion-graph $(ARGS)

# Does this version's number allow what has changed in the library? Not part of `make test`, as `make deny`; there a test keeps
# the list of what is public true.
semver:
	$(STEP) "semver" env CARGO="$(CARGO)" sh ./scripts/semver.sh $(ARGS)

release-check:
	@exec sh ./scripts/release-check.sh $(ARGS)

clean:
	$(CARGO) clean
