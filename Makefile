# Everything a developer types. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

RECIPE ?= mbpo
LIMIT ?=
ARGS ?=
# Where pip finds the build of PyTorch that fits the device; empty: wherever pip is configured to.
TORCH_INDEX ?=

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

##@ The pipeline
.PHONY: run up down status
run: $(INSTALLED)  ## run it once, server and all: make run [RECIPE=mbpo] [LIMIT=N] [ARGS="--set mine.steps=5"]
	@$(BIN)/python -m deployments.launch run $(RECIPE) $(if $(LIMIT),--limit $(LIMIT)) $(ARGS)

up: $(INSTALLED)  ## leave a Prefect server and a runner standing [ARGS="--host 0.0.0.0 --database postgresql+asyncpg://..."]
	@$(BIN)/python -m deployments.launch up $(ARGS)

down: $(INSTALLED)  ## end what `make up` started
	@$(BIN)/python -m deployments.launch down $(ARGS)

status: $(INSTALLED)  ## say what stands
	@$(BIN)/python -m deployments.launch status $(ARGS)

##@ Development
.PHONY: test test-all mutants fuzz lint format testbed audit
test: lint | .prefect/tests  ## import contracts, ruff and all tests but the slow: make test [ARGS="tests/storage -x"]
	@$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

test-all: lint | .prefect/tests  ## the slow tests too
	@$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "slow or not slow" $(ARGS)

mutants: $(INSTALLED) | .prefect/tests  ## make plausible mistakes, one at a time: a test must notice each [ARGS=name]
	@$(TEST_ENVIRONMENT) $(BIN)/python -m tests.mutation.run $(ARGS)

fuzz: $(INSTALLED)  ## fuzz ingest and verifier, all targets side by side: make fuzz [ARGS="--minutes 10 --target records"]
	@$(TEST_ENVIRONMENT) $(BIN)/python -m tests.fuzz.run $(ARGS)

# Test files side by side, one process a core; ARGS="-n 0" runs them in this one.
SIDE_BY_SIDE := -n logical --maxprocesses=4 --dist loadfile

# Tests keep to themselves: nothing is asked of the network or of the user's own Prefect.
TEST_ENVIRONMENT := PREFECT_HOME="$(CURDIR)/.prefect/tests" PREFECT_API_URL= HF_HUB_OFFLINE=1

# Prefect makes its home, but not the folder around it.
.prefect/tests:
	@mkdir -p $@

lint: $(INSTALLED)  ## import contracts and ruff
	@told=$$($(BIN)/lint-imports --no-cache 2>&1) || { echo "$$told"; exit 1; }; echo "$$told" | grep -F Contracts:
	@$(BIN)/ruff check --quiet .

format: $(INSTALLED)  ## ruff's fixes and formatting
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

# Strict: without the advisory service pip-audit would skip every package and call that success.
AUDIT := build/audit
audit:  ## known vulnerabilities of the pinned versions; asks the advisory service of PyPI
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install -qq pip-audit; }
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

testbed: $(INSTALLED)  ## train the embedded model again and measure it (20 minutes on one thread)
	@rm -rf build/testbed
	@$(BIN)/python -m mbpo_core.testbed.build --threads 1 $(ARGS) --output build/testbed
	@$(BIN)/python -m mbpo_core.testbed.measure --model build/testbed
	@cp build/testbed/* mbpo_core/testbed/model/
	@git status --short mbpo_core/testbed/model

##@ Measurements
# Another Python than that of .venv: make bench-gpu BENCH_PYTHON=python3 (torch, transformers, accelerate, peft).
BENCH_PYTHON ?= $(BIN)/python
.PHONY: bench bench-gpu compare reproduce faults
bench: $(INSTALLED)  ## benchmarks on the CPU, side by side with the usual way (an hour): make bench [BENCH="score attack"]
	@for name in $(BENCH); do $(BIN)/python -m benchmarks.bench_$$name $(ARGS); done

BENCH ?= score attack sample train pipeline scaling

bench-gpu: $(if $(filter $(BIN)/python,$(BENCH_PYTHON)),$(INSTALLED))  ## the method core at the true sizes, on a GPU [ARGS="--only score,attack --models 2b"]
	@$(BENCH_PYTHON) -m benchmarks.bench_gpu $(ARGS)

compare: $(INSTALLED)  ## all recipes on the embedded world, three seeds; goes on where it was [ARGS="--trials" or "--rows mbpo,dpo"]
	@$(BIN)/python -m benchmarks.compare $(ARGS)

reproduce: $(INSTALLED)  ## the ablations of the MBPO paper on the embedded world; goes on where it was [ARGS="--groups table2 --seeds 2 --at-once 1"]
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.reproduce $(ARGS)

faults: $(INSTALLED)  ## kill, fill, spoil and race runs on purpose; goes on where it was [ARGS="--quick" or "--write"]
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults $(ARGS)

##@ The environment
.PHONY: install clean-venv help
install: $(INSTALLED)  ## make .venv with pinned versions [PYTHON=python3.12] [TORCH_INDEX=index of a GPU or CPU build]

# PyTorch alone and first: it is the one package of which builds differ by device. torchattacks last
# and alone: of what it asks for, all is there but torchvision, which it does without.
$(INSTALLED): constraints.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) not found; name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), needed is 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "installing into $(VENV), once (some minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(PIP) -e '.[test]'
	@$(PIP) --no-deps torchattacks
	@touch $@

clean-venv:  ## remove .venv
	@rm -rf $(VENV)

help:  ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
