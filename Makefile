# What people and CI run. `make` alone lists the targets.

.PHONY: help demo test check fmt clippy doc deny bench setup base-images

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build an example for two platforms, push it to a local registry, verify it and run it
	@scripts/demo

test: ## run all tests (as root: they make namespaces, mounts and foreign-architecture containers)
	@scripts/test

check: fmt clippy doc deny ## all static checks

fmt: ## is the code formatted?
	cargo fmt --all --check

clippy: ## lints, as errors
	cargo clippy --workspace --all-targets --locked -- -D warnings

doc: ## documentation, its warnings as errors
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked

# Fetching brings the crates of other operating systems too, without which the offline check cannot start.
deny: ## licences, sources and banned crates of the dependencies (needs cargo-deny)
	cargo fetch --locked
	cargo deny --offline check --hide-inclusion-graph bans licenses sources

bench: ## time gantry against a Docker Engine (DOCKER names its client), in one run
	@cargo build --release --locked -p gantry
	@benches/compare

setup: ## install and register what the demo and the tests need
	@scripts/setup

base-images: ## make the base images that the demo and the tests build on
	@scripts/base-images
