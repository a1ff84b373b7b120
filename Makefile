# What people want from this repository. `make` alone lists it.
# All but e2e runs without root and needs Rust, Go and make; the rest is built once into a cache that all clones share.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/snapwatcher-lab
LAB := target/debug/lab
SNAPWATCHER := target/debug/snapwatcher

# The one tool that neither rustup nor the lock file brings.
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_ROOT := $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_ROOT)/bin/cargo-deny

# Runs on a stable toolchain, without a sanitizer: there is no unsafe code of ours to watch.
CARGO_FUZZ_VERSION := 0.13.1
CARGO_FUZZ_ROOT := $(CACHE)/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)
CARGO_FUZZ := $(CARGO_FUZZ_ROOT)/bin/cargo-fuzz
FUZZ_SECONDS := 3600

.PHONY: help build demo test e2e storm bench fuzz scan lint fmt audit helm manifests man test-chart image install clean

# The image that `make image` builds and `make install` runs.
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$$/\1/p' Cargo.toml)
IMAGE := snapwatcher:$(VERSION)
NAMESPACE := snap

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the program and the lab (debug)
	cargo build --workspace --exclude bench --locked

demo: build ## Show the whole way of a pod on a real API server; KEEP=1 stays up afterwards
	$(LAB) demo --snapwatcher $(SNAPWATCHER) $(if $(filter-out 0,$(KEEP)),--keep)

test: build helm ## Run every test against a control plane of its own
	# Sets the clock of a process.
	.ci/package libfaketime '/usr/lib/*/faketime/libfaketime.so.1'
	$(LAB) test --snapwatcher $(SNAPWATCHER) -- cargo test --workspace --exclude bench --locked

# One after the other: they share the one node, and some take something away from it.
e2e: build image ## Run the tests that need a real node: kubelet, containerd and criu on this machine (root, Linux)
	$(LAB) test --services --snapwatcher $(SNAPWATCHER) -- \
		cargo test --workspace --exclude bench --locked --test 'e2e_*' -- --test-threads 1

# The tests that have a long form, see lab/src/storm.rs.
STORMS := storm_kill storm_step replicas replicas_paused api_server_away watch_faults snaphook_faults budgets revisions \
	retention existing_pods rotation rotation_step certificate_secret drain rude_clients rude_bodies

storm: build ## Run the long forms of the tests that kill, pause and break things (an hour); STORM_SEED=N repeats one
	.ci/package slowhttptest slowhttptest
	$(LAB) test --snapwatcher $(SNAPWATCHER) -- env SNAPWATCHER_STORM=1 \
		cargo test --locked --no-fail-fast $(addprefix --test ,$(STORMS)) -- --nocapture --test-threads 1

bench: ## Measure admission beside a fixed reply and write docs/benchmarks.md (some minutes; builds a release first)
	cargo build --release --locked --package snapwatcher --package bench --bin snapwatcher --bin bench
	target/release/bench run
	cargo bench --locked --package bench

fuzz: $(CARGO_FUZZ) ## Try any bytes as the body of a review for an hour; FUZZ_SECONDS=N for less. Findings stay in fuzz/artifacts/
	mkdir -p target/fuzz-corpus
	$(CARGO_FUZZ) run --sanitizer none review target/fuzz-corpus fuzz/corpus/review fuzz/corpus/found -- \
		-max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10
	# Of what was found the short bodies that reach something new, for `make test`.
	$(CARGO_FUZZ) run --sanitizer none review fuzz/corpus/found target/fuzz-corpus fuzz/corpus/review -- \
		-set_cover_merge=1 -max_len=1024 -timeout=10

scan: build ## Scan the HTTPS port with sslscan (by apt where root) and sslyze: versions, suites, protocols
	.ci/scan $(SNAPWATCHER) $(CACHE)/tools

lint: $(CARGO_DENY) ## Check format, lints, dependencies, the changelog and the words of the repository
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo clippy --workspace --exclude bench --test 'e2e_*' --locked -- --deny warnings
	$(CARGO_DENY) --workspace --locked check --hide-inclusion-graph licenses bans sources
	.ci/check-changelog
	.ci/check-words
	.ci/check-imports

# Built from source like the control plane, for those who have none.
helm: build
	@$(LAB) tool helm >/dev/null

manifests: build helm ## Write manifests/, webhook-config/ and the chart's CRD from the program and the chart
	.ci/manifests $(SNAPWATCHER) $$($(LAB) tool helm)

man: ## Write a man page for the program and each command into target/man
	cargo run --quiet --locked --package snapwatcher --bin snapwatcher -- man target/man/man1

test-chart: build helm ## Check chart, manifests and Dockerfile: lint, schemas of Kubernetes, checkov, hadolint, every scenario
	.ci/test-chart $(SNAPWATCHER) $$($(LAB) tool helm) $(CACHE)/tools
	cargo test --locked --test chart_values --test chart_scenarios --test chart_invariants --test chart_refusals

image: ## Build the image IMAGE=NAME:TAG with docker, podman or buildah, and print its size
	.ci/image $(IMAGE) $(VERSION)

install: image ## Build the image and install it by Helm into the current context; PUSH=1 pushes it first, which a cluster elsewhere needs
	.ci/install $(IMAGE) $(NAMESPACE) $(if $(filter-out 0,$(PUSH)),push)

clean: ## Uninstall what `make install` installed from the current context; the records stay, but not with CRD=1
	.ci/uninstall $(NAMESPACE) $(if $(filter-out 0,$(CRD)),records)

fmt: ## Format the sources
	cargo fmt --all

audit: $(CARGO_DENY) ## Check the dependencies for known vulnerabilities (needs the network; not in CI)
	$(CARGO_DENY) --workspace --locked check advisories

$(CARGO_DENY):
	@echo 'Building cargo-deny $(CARGO_DENY_VERSION) into $(CARGO_DENY_ROOT) (some minutes, once)'
	# Unoptimised: it runs for a second, and builds in half the time.
	cargo install --debug --locked --quiet cargo-deny --version $(CARGO_DENY_VERSION) --no-default-features \
		--root $(CARGO_DENY_ROOT)

$(CARGO_FUZZ):
	@echo 'Building cargo-fuzz $(CARGO_FUZZ_VERSION) into $(CARGO_FUZZ_ROOT) (a minute, once)'
	cargo install --locked --quiet cargo-fuzz --version $(CARGO_FUZZ_VERSION) --root $(CARGO_FUZZ_ROOT)
