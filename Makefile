# Every everyday command, one line each. `make help` prints the list from the comments behind the targets.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help run test lint fmt check cluster bench simulate torture torture-long soak openapi fuzz-api tools clean-tools

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

run: ## start Sealpost alone on this machine, no other services (builds first; the first build takes minutes)
	cargo run --release --locked -- serve

test: lint tools ## everything a change must pass: format, lints, directions, tests, OpenAPI drift
	.ci/directions
	tools/with-services cargo test --workspace --locked
	$${CARGO_TARGET_DIR:-target}/debug/sealpost openapi --out openapi --check

lint: ## formatting and lints; any warning is an error
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## format the code
	cargo fmt --all

check: ## the repository's own rules: directions, licences, sources, compose file; no build
	.ci/check

cluster: ## a small cluster here: NATS, Postgres, two gateways (8081, 8082), workers; Ctrl-C stops it
	tools/cluster

bench: ## the load generator against NATS and Postgres on this machine; ARGS="..." is passed on
	cargo build --profile dist --locked -p sealpost -p sealpost-bench
	tools/with-services $${CARGO_TARGET_DIR:-target}/dist/sealpost-bench $(ARGS)

simulate: ## thousands of simulated worlds with faults, no server needed; SEEDS=5000 SEED=0, and SEEDS=1 prints one world's history
	SEALPOST_SIMULATION_SEEDS=$(or $(SEEDS),5000) SEALPOST_SIMULATION_FIRST=$(or $(SEED),0) \
		cargo test --workspace --locked --test simulation -- --nocapture every_seed

torture: ## break everything for ten minutes, both stacks and three brokers, and hold the servers to their promises; ARGS="..." is passed on
	cargo build --release --locked -p sealpost -p sealpost-torture --features sealpost/failpoints
	tools/with-services target/release/sealpost-torture $(ARGS)

torture-long: ## until 300 kills and 1,000,000 stored messages, both stacks in turns; hours, for a machine with nothing else to do
	$(MAKE) torture ARGS="--seed 1000 --minutes 5 --rate 400 --until-kills 300 --until-stored 1000000 $(ARGS)"

soak: ## 200 clients that come and go for ten minutes, both stacks: each one's view must end as the history; ARGS="..." is passed on
	cargo build --release --locked -p sealpost -p sealpost-torture
	tools/with-services target/release/sealpost-soak $(ARGS)

openapi: ## write the API description into openapi/
	cargo run --quiet --locked -- openapi --out openapi

fuzz-api: ## call every route in every way that its own description allows: no 5xx, no undocumented answer; FUZZ_SECONDS=60
	cargo build --locked -p sealpost
	tools/fuzz-api

tools: ## bring nats-server and Postgres into .tools, or find them on this machine
	tools/fetch

clean-tools: ## remove what `make tools` brought
	rm -rf .tools
