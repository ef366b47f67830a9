# Every task a person does here. `make` alone lists them.

# dev for the tests, release for everything that a person runs or measures.
PROFILE ?= release
TARGET_DIR ?= target
# How long each parser is fuzzed.
FUZZ_SECONDS ?= 60
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
COMMIT = $(shell git rev-parse --short HEAD 2>/dev/null)
BIN = $(TARGET_DIR)/$(HOST)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

.PHONY: help setup demo test check fmt lint unit doc manifests readme bench soak fuzz images audit clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the Debian packages that demo and test need (as root; else it prints the command)
	@hack/setup.sh test

demo: ## See all programs work, in a private network namespace
	@hack/setup.sh demo
	@echo "Building; some five minutes the first time…"
	@cargo build --locked --profile $(PROFILE) -p agent -p webhook -p proxy
	@MAKE_TARGET=demo hack/in-namespaces.sh demo/demo.sh $(BIN)

test: setup check ## Everything that CI runs: format, lints, all tests, docs, manifests, README
	@echo "all checks passed"

check: fmt lint unit doc manifests readme

fmt: ## Is the code formatted? (cargo fmt mends it)
	cargo fmt --all --check

lint: ## clippy, warnings denied
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings

unit: ## All Rust tests, those on the real kernel included
	cargo test --quiet --locked --workspace --no-run
	MAKE_TARGET=test hack/in-namespaces.sh cargo test --locked --offline --workspace

doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps --document-private-items

manifests: ## Check deploy/ against the Kubernetes schemas
	@cargo build --quiet --locked -p agent -p webhook -p proxy
	@hack/check-manifests.sh $(TARGET_DIR)/$(HOST)/debug

readme: ## Run the README's examples, and the demo
	@cargo build --quiet --locked -p agent -p webhook -p proxy
	@MAKE_TARGET=test hack/in-namespaces.sh demo/demo.sh $(TARGET_DIR)/$(HOST)/debug
	@MAKE_TARGET=test hack/in-namespaces.sh hack/check-readme.sh $(TARGET_DIR)/$(HOST)/debug

bench: ## Measure what the specifications give figures for
	@hack/setup.sh bench
	@cargo build --quiet --locked --release -p agent -p proxy -p webhook --bins --examples
	@/usr/bin/python3 -m venv $(TARGET_DIR)/venv-bench
	@$(TARGET_DIR)/venv-bench/bin/pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt
	@MAKE_TARGET=bench hack/in-namespaces.sh /usr/bin/python3 bench/agent.py $(TARGET_DIR)/$(HOST)/release
	@MAKE_TARGET=bench hack/in-namespaces.sh /usr/bin/python3 bench/webhook.py $(TARGET_DIR)/$(HOST)/release
	@MAKE_TARGET=bench hack/in-namespaces.sh /usr/bin/python3 bench/proxy.py $(TARGET_DIR)/$(HOST)/release \
		$(TARGET_DIR)/venv-bench/bin/envoy

soak: ## Chaos and hand-overs of the agent ten times; the webhook's renewals and the proxy under full load
	@hack/setup.sh test
	cargo test --quiet --locked -p agent -p proxy -p webhook --no-run
	@for run in 1 2 3 4 5 6 7 8 9 10; do MAKE_TARGET=soak hack/in-namespaces.sh \
		cargo test --quiet --locked --offline -p agent --test node -- --nocapture chaos || exit 1; done
	@HANDOVERS=10 MAKE_TARGET=soak hack/in-namespaces.sh \
		cargo test --quiet --locked --offline -p agent --test node -- --nocapture dials_during
	@RENEWALS=3 WEBHOOK_LOAD=2000 MAKE_TARGET=soak hack/in-namespaces.sh \
		cargo test --quiet --locked --offline -p webhook --test cert_secret -- --nocapture --test-threads=1 under_load
	cargo build --quiet --locked --release -p proxy
	@DIALS=1000 PROXY_BINARY=$(abspath $(TARGET_DIR))/$(HOST)/release/apiserver-proxy MAKE_TARGET=soak hack/in-namespaces.sh \
		cargo test --quiet --locked --offline -p proxy --test node -- --nocapture ten_replacements
	@SLOW_GIGABYTES=10 IDLE_PAIRS=10000 MAKE_TARGET=soak hack/in-namespaces.sh \
		cargo test --quiet --locked --offline -p proxy --test peers -- --nocapture slow:: idle::

fuzz: ## Give each parser any bytes, FUZZ_SECONDS (60) for each; not part of test
	@hack/setup.sh fuzz
	@hack/fuzz.sh $(TARGET_DIR)/fuzz $(FUZZ_SECONDS)

images: ## Build all images with docker, podman or buildah, and start each once
	@hack/setup.sh images
	@GIT_COMMIT=$(COMMIT) cargo build --locked --release -p agent -p webhook -p proxy
	@GIT_COMMIT=$(COMMIT) images/build.sh $(TARGET_DIR)/$(HOST)/release $(TARGET_DIR)/images

audit: ## Licences and advisories of all dependencies (needs cargo-deny)
	cargo deny --locked check

clean: ## Remove everything that was built
	cargo clean
