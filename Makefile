# `make` alone lists the targets.
# All targets except e2e run without root and need Rust, Go and make; image needs no Go, and Rust only with buildah. Other programs
# are built once, into a cache that all clones share.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/snapwatcher-lab
LAB := target/debug/lab
SNAPWATCHER := target/debug/snapwatcher

# A tool that neither rustup nor the lock file provides.
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_ROOT := $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_ROOT)/bin/cargo-deny

# Writes the names and versions of the dependencies into the program. The Dockerfile has the same version.
CARGO_AUDITABLE_VERSION := 0.7.7
CARGO_AUDITABLE_ROOT := $(CACHE)/tools/cargo-auditable-$(CARGO_AUDITABLE_VERSION)
CARGO_AUDITABLE := $(CARGO_AUDITABLE_ROOT)/bin/cargo-auditable

CARGO_CYCLONEDX_VERSION := 0.5.9
CARGO_CYCLONEDX_ROOT := $(CACHE)/tools/cargo-cyclonedx-$(CARGO_CYCLONEDX_VERSION)
CARGO_CYCLONEDX := $(CARGO_CYCLONEDX_ROOT)/bin/cargo-cyclonedx

# Runs on a stable toolchain without a sanitizer, because our code has no unsafe blocks.
CARGO_FUZZ_VERSION := 0.13.1
CARGO_FUZZ_ROOT := $(CACHE)/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)
CARGO_FUZZ := $(CARGO_FUZZ_ROOT)/bin/cargo-fuzz
FUZZ_SECONDS := 3600

.PHONY: help build demo registries test e2e storm adversary simulate mutants bench fuzz fuzz-review fuzz-archive scan lint fmt audit sbom helm manifests man test-chart image install clean

# The image that `make image` builds and `make install` runs.
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$$/\1/p' Cargo.toml)
IMAGE := snapwatcher:$(VERSION)
NAMESPACE := snap

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build SnapWatcher and the lab (debug)
	cargo build --workspace --exclude bench --locked

demo: build ## Follow a pod from its label to its checkpoint on a real API server; KEEP=1 keeps everything running afterwards; KUBEBUILDER_ASSETS=FOLDER takes etcd and kube-apiserver from there instead of building them
	$(LAB) demo --snapwatcher $(SNAPWATCHER) $(if $(filter-out 0,$(KEEP)),--keep)

registries: build ## Put the registries of images that the tests use into the cache, if they are not there yet
	[[ -x /usr/bin/docker-registry ]] || .ci/unpack docker-registry usr/bin/docker-registry $(CACHE)/docker-registry
	@$(LAB) tool distribution >/dev/null
	@$(LAB) tool go-container-registry >/dev/null

test: build helm registries ## Run all tests except those of e2e, against a control plane on this machine
	# A test sets the clock of a process with it.
	.ci/package libfaketime '/usr/lib/*/faketime/libfaketime.so.1'
	$(LAB) test --snapwatcher $(SNAPWATCHER) -- cargo test --workspace --exclude bench --locked

# One test at a time: they share one node, and some of them break parts of it.
e2e: build image ## Run the tests that need a real node: kubelet, containerd and CRIU on this machine (needs root and Linux)
	.ci/package skopeo skopeo
	$(LAB) test --services --snapwatcher $(SNAPWATCHER) -- \
		cargo test --workspace --exclude bench --locked --test 'e2e_*' -- --test-threads 1

# The tests with a long form, see lab/src/storm.rs.
STORMS := storm_kill storm_step replicas replicas_paused api_server_outage watch_faults snaphook_faults concurrency_limits revisions \
	retention existing_pods simulated_api_server rotation rotation_step certificate_secret drain rude_clients rude_bodies

storm: build ## Run the long forms of the tests that kill, pause and break things (about an hour); STORM_SEED=N repeats a run
	.ci/package slowhttptest slowhttptest
	$(LAB) test --snapwatcher $(SNAPWATCHER) -- env SNAPWATCHER_STORM=1 \
		cargo test --locked --no-fail-fast $(addprefix --test ,$(STORMS)) -- --nocapture --test-threads 1

# Optimized, as what runs in clusters: a debug build needs as much processor time as the attacks.
adversary: ## Attack SnapWatcher for five minutes as a hostile tenant, with the chart's memory limit (needs root for the limit)
	SNAPWATCHER_STORM=1 cargo test --release --locked --test adversary -- --nocapture

HISTORIES := 1000000

simulate: ## Run a million histories of the engine on a simulated API server, or HISTORIES=N (about half an hour); SEED=N repeats a run
	cargo run --locked --profile simulation --package simulation -- --histories $(HISTORIES) $(if $(SEED),--seed $(SEED))

mutants: ## Check that the simulation notices each guard that a patch in simulation/mutants removes from the engine
	.ci/mutants

bench: ## Measure admission and the controller beside other programs, and write docs/benchmarks.md (about an hour); LONG=1 adds 100,000 pods; BENCH_FLAGS='--part admission' measures less
	cargo build --release --locked --package snapwatcher --package bench --bin snapwatcher --bin bench
	for peer in webhook watcher; do \
		CGO_ENABLED=0 go build -C bench/peers/$$peer -mod=readonly -trimpath -o $(CURDIR)/target/release/controller-runtime-$$peer .; \
	done
	target/release/bench run $(if $(filter-out 0,$(LONG)),--long) $(BENCH_FLAGS)
	cargo bench --locked --package bench

fuzz: fuzz-review fuzz-archive ## Fuzz admission reviews and checkpoint archives, each for an hour or for FUZZ_SECONDS=N; findings are in fuzz/artifacts/

# By target: the folder of the inputs that were found, the longest input in bytes, and the longest that is kept.
FUZZ_FOUND_review := fuzz/corpus/found
FUZZ_LONGEST_review := 16384
FUZZ_KEPT_review := 1024
FUZZ_FOUND_archive := fuzz/corpus/archive-found
FUZZ_LONGEST_archive := 32768
FUZZ_KEPT_archive := 8192

fuzz-review fuzz-archive: fuzz-%: $(CARGO_FUZZ)
	mkdir -p target/fuzz-corpus/$* $(FUZZ_FOUND_$*)
	$(CARGO_FUZZ) run --sanitizer none $* target/fuzz-corpus/$* fuzz/corpus/$* $(FUZZ_FOUND_$*) -- \
		-max_total_time=$(FUZZ_SECONDS) -max_len=$(FUZZ_LONGEST_$*) -timeout=10
	# Keeps the short inputs that reach new code, for `make test`.
	$(CARGO_FUZZ) run --sanitizer none $* $(FUZZ_FOUND_$*) target/fuzz-corpus/$* fuzz/corpus/$* -- \
		-set_cover_merge=1 -max_len=$(FUZZ_KEPT_$*) -timeout=10

scan: build ## Scan the HTTPS port with sslscan and sslyze: TLS versions, cipher suites, protocols
	.ci/scan $(SNAPWATCHER) $(CACHE)/tools

lint: $(CARGO_DENY) ## Check format, lints, dependencies, changelog and forbidden words
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo clippy --workspace --exclude bench --test 'e2e_*' --locked -- --deny warnings
	# The lock file that no other command here reads.
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	$(CARGO_DENY) --workspace --locked check --hide-inclusion-graph --allow license-exception-not-encountered licenses bans sources
	.ci/check-changelog
	.ci/check-words
	.ci/check-imports

helm: build ## Build Helm from source into the cache, if it is not there yet
	@$(LAB) tool helm >/dev/null

manifests: build helm ## Generate manifests/, webhook-config/ and the chart's CRD and snapshots from the program and the chart
	.ci/manifests $(SNAPWATCHER) $$($(LAB) tool helm)

man: ## Write a man page for the program and each command into target/man
	cargo run --quiet --locked --package snapwatcher --bin snapwatcher -- man target/man/man1

test-chart: build helm ## Check chart, manifests and Dockerfile: lint, schemas of Kubernetes, checkov, hadolint, every scenario
	.ci/test-chart $(SNAPWATCHER) $$($(LAB) tool helm) $(CACHE)/tools
	cargo test --locked --test chart_values --test chart_scenarios --test chart_invariants --test chart_refusals

image: ## Build the image IMAGE=NAME:TAG with docker or podman, or with buildah and Rust, and print its size
	.ci/image $(IMAGE) $(VERSION) $(CARGO_AUDITABLE_ROOT)

install: image ## Build the image and install it with Helm into the current context; PUSH=1 pushes it to its registry first
	.ci/install $(IMAGE) $(NAMESPACE) $(if $(filter-out 0,$(PUSH)),push)

clean: ## Uninstall what `make install` installed; CRD=1 also deletes the Checkpoint resource and all Checkpoints
	.ci/uninstall $(NAMESPACE) $(if $(filter-out 0,$(CRD)),records)

fmt: ## Format the sources
	cargo fmt --all

audit: $(CARGO_DENY) ## Check advisories and licenses of all lock files; without the network, with the last advisories that were downloaded
	.ci/audit $(CARGO_DENY) $(CACHE)

sbom: $(CARGO_CYCLONEDX) ## Write the components of the program, with versions and licenses, to target/sbom/snapwatcher.cdx.json (CycloneDX)
	.ci/sbom $(CARGO_CYCLONEDX)

$(CARGO_DENY):
	@echo 'Building cargo-deny $(CARGO_DENY_VERSION) into $(CARGO_DENY_ROOT) (once, some minutes)'
	# Not optimized: it runs for only a second and builds in half the time.
	cargo install --debug --locked --quiet cargo-deny --version $(CARGO_DENY_VERSION) --no-default-features \
		--root $(CARGO_DENY_ROOT)

$(CARGO_AUDITABLE):
	@echo 'Building cargo-auditable $(CARGO_AUDITABLE_VERSION) into $(CARGO_AUDITABLE_ROOT) (once, about a minute)'
	cargo install --debug --locked --quiet cargo-auditable --version $(CARGO_AUDITABLE_VERSION) --root $(CARGO_AUDITABLE_ROOT)

$(CARGO_CYCLONEDX):
	@echo 'Building cargo-cyclonedx $(CARGO_CYCLONEDX_VERSION) into $(CARGO_CYCLONEDX_ROOT) (once, some minutes)'
	cargo install --debug --locked --quiet cargo-cyclonedx --version $(CARGO_CYCLONEDX_VERSION) --root $(CARGO_CYCLONEDX_ROOT)

$(CARGO_FUZZ):
	@echo 'Building cargo-fuzz $(CARGO_FUZZ_VERSION) into $(CARGO_FUZZ_ROOT) (once, about a minute)'
	cargo install --locked --quiet cargo-fuzz --version $(CARGO_FUZZ_VERSION) --root $(CARGO_FUZZ_ROOT)
