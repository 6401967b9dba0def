# The commands of a developer. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Debian keeps the servers' programs out of the PATH.
export PATH := $(PATH):$(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))

.PHONY: help demo board build client test test-client test-matrix fmt lint postgres tools fuzz images bench-sessions bench-writes

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: postgres ## A throwaway PostgreSQL, a sample application and a daemon, to play with
	@if command -v npm >/dev/null; then \
		$(MAKE) --no-print-directory board || echo 'the board could not be built: the demo runs without it'; \
	else echo 'npm is missing: the demo runs without its board'; fi
	exec cargo run --quiet --locked -- demo

board: examples/board/dist/index.html ## Build the page of the demo's board (needs npm), for the next build to take along

# Nothing is built anew unless something has changed: a new page is a new binary.
examples/board/dist/index.html: $(shell find client/src examples/board/src -type f) $(wildcard client/*.json \
		examples/board/*.json examples/board/*.ts) examples/board/index.html examples/board/build
	examples/board/build

build: ## Build the release binary
	cargo build --release --locked

client: ## Build and check the TypeScript client
	tests/client build

test: postgres tools ## Everything that CI runs
	tests/run

test-client: postgres client board ## The tests of the client, against real daemons and in a browser
	tests/client test

test-matrix: postgres tools ## The tests of the database side on PostgreSQL 13 to 18
	tests/matrix

fmt: ## Format the code
	cargo fmt --all

lint: ## Format check and clippy, warnings as errors
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

postgres: # PostgreSQL's programs, from the system's packages where they are missing
	@command -v initdb >/dev/null || tests/tools/install postgresql

tools: # What the tests need besides: cargo-nextest, PgBouncer, nginx, curl, libfaketime, peers in Python and Node, schemas of others, AsyncAPI's
	@command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || tests/tools/install pgbouncer
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || tests/tools/install nginx
	@command -v curl >/dev/null || tests/tools/install curl
	@compgen -G '/usr/lib*/faketime/libfaketimeMT.so.1' >/dev/null || \
		compgen -G '/usr/lib*/*/faketime/libfaketimeMT.so.1' >/dev/null || tests/tools/install libfaketime
	@tests/tools/peers
	@tests/tools/schemas
	@tests/tools/asyncapi

images: postgres board ## Make the pictures of docs/images anew, with the tests of the board and the inspector
	PGHERALD_IMAGES=docs/images tests/client test tests/browser/board

fuzz: ## Fuzz the frame codec for a minute (needs cargo-fuzz)
	RUSTC_BOOTSTRAP=1 cargo fuzz run websocket -- -max_total_time=60 -max_len=4096

bench-sessions: postgres ## What a session costs, beside a plain tokio-tungstenite server
	cargo bench --locked --bench sessions

bench-writes: postgres ## What the triggers cost the writers: half an hour, five minutes with QUICK=1
	cargo bench --locked --bench writes
