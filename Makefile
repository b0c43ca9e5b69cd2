# The two commands of a fresh machine are `make demo` and `make test`; the rest is for every day.
# All of them make .venv first, with what setup.cfg asks for.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo run test lint bench bench-publishes chaos soak nsqd clean help

demo: $(VENV)/ready  ## the whole job once, on a queue of its own, with a report
	@$(BIN)/python supervisor.py demo $(ARGS)

run: $(VENV)/ready  ## the service, until Ctrl-C
	@$(BIN)/python supervisor.py run $(ARGS)

test: $(VENV)/ready-tests  ## all tests (some need nsqd or chromium: see the README)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/ready-tests  ## style
	$(BIN)/ruff check .

bench: $(VENV)/ready-tests  ## speed, as ratios within one run
	@$(BIN)/python -m bench $(ARGS)

chaos: $(VENV)/ready-tests  ## 500 kills and every other fault on real processes, and exact totals
	@$(BIN)/python -m tests.chaos --kills 500 $(ARGS)

soak: $(VENV)/ready-tests  ## the simulation of the whole service on 50,000 seeds
	@$(BIN)/python -m tests.simulation --seeds 50000 --jobs $$(getconf _NPROCESSORS_ONLN) $(ARGS)

bench-publishes: $(VENV)/ready-tests  ## publishes beside the fewest possible, in virtual time
	@$(BIN)/python -m bench.publishes $(ARGS)

nsqd: ## build the real nsqd for the tests (needs Go); prints the folder to put on PATH
	@tests/nsq/build.sh

clean:  ## remove what make made
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/python-checked:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/ready: setup.cfg pyproject.toml $(VENV)/python-checked
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/ready-tests: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@
