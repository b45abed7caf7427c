# One verb each; `make help` lists them. Each makes its own environment; none needs root.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CROWD ?= 5000
SCENARIO ?= mi3-wechat-2013
SCALE ?= 0.1
SUITES ?= http edge engine writer memory
HISTORY ?= bench-history.jsonl
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-stock mutants check format bench bench-plot rehearse faults lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## a whole sale with a crowd, here and now: make demo CROWD=5000
	$(BIN)/flashsale demo --crowd $(CROWD) $(ARGS)

test: $(VENV)/.dev ## every test: make test ARGS="-k rights"
	./scripts/test $(ARGS)

test-stock: $(VENV)/.dev ## the tests of scripts, stores and processes once more, on a stock Redis 7 and Postgres 15
	./scripts/test-stock $(ARGS)

mutants: $(VENV)/.dev ## take away every guard in turn, a test has to notice: make mutants ARGS="--only purchase"
	$(BIN)/python -m tests.mutants $(ARGS)

check: $(VENV)/.dev ## formatting, lint, types, imports
	./scripts/check

format: $(VENV)/.dev ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## ratios against references in the same run: make bench SUITES="http engine"
	$(BIN)/flashsale bench $(SUITES) --history $(HISTORY) $(ARGS)

bench-plot: $(VENV)/.plot ## the history of benches as a picture: make bench-plot HISTORY=bench-history.jsonl
	$(BIN)/python -m flashsale.bench.plot $(HISTORY) bench-history.png
	@echo bench-history.png

rehearse: $(VENV)/.dev ## replay a release day: make rehearse SCENARIO=mi3-wechat-2013 SCALE=0.1
	$(BIN)/flashsale rehearse $(SCENARIO) --scale $(SCALE) $(ARGS)

faults: $(VENV)/.dev ## every fault, single and cluster, as a table: make faults ARGS="--only F5,F7 --seed 3"
	$(BIN)/python -m loadtest.faults $(ARGS)

lock: $(VENV)/.uv ## renew requirements/*.txt from pyproject.toml
	./scripts/lock

clean: ## remove what these verbs made
	rm -rf $(VENV) .flashsale .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.uv: requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; give one with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements/run.txt pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.plot: $(VENV)/.run requirements/plot.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/plot.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@
