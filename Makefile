# The front door. Everything behind it is Meson (the build) and scripts/ (what a target does in more than a line).
BUILD ?= build
# Of each fuzz target in `make fuzz`.
FUZZ_SECONDS ?= 10

.PHONY: all deps run test test-all fuzz fuzz-long bench lint format clean help
.DEFAULT_GOAL := all

all: $(BUILD)/build.ninja ## build/sluice
	@ninja -C $(BUILD) sluice

$(BUILD)/build.ninja:
	@scripts/deps --check build
	@meson setup $(BUILD)

deps: ## installs what is missing to build, run and test
	@scripts/deps build run test

run: ## builds what is missing, starts the quickstart; Ctrl-C ends it
	@scripts/deps build run
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) scripts/run-quickstart

test: ## all tests, under sanitizers, and lint: some 20 minutes on 2 cores
	@scripts/deps build run test
	@BUILD=$(BUILD) scripts/test

test-all: ## make test, on the optimised build as well, the slow tests and 2 minutes of each fuzz target
	@scripts/deps build run test
	@BUILD=$(BUILD) scripts/test --slow --fuzz-seconds 120

fuzz: ## each fuzz target for FUZZ_SECONDS
	@scripts/deps build test
	@BUILD=$(BUILD) scripts/test --only fuzz --fuzz-seconds $(FUZZ_SECONDS)

fuzz-long: ## each fuzz target for an hour
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=3600

bench: ## the benchmarks, beside nginx and HAProxy
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) bench/run

lint: ## clang-tidy, clang-format, includes, tables in docs/
	@scripts/deps build test
	@BUILD=$(BUILD) scripts/test --only lint

format: ## formats the sources
	@find src tests bench -name '*.[ch]' -exec clang-format -i {} +

clean: ## removes all builds
	@rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "make %-10s %s\n", $$1, $$2 }' Makefile
