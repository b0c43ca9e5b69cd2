# The two commands of a fresh machine are `make demo` and `make test`; the rest is for every day.
# All of them make .venv first, with what setup.cfg asks for in the versions of constraints.txt.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# As a line in a .pth file: the import hook of an ordinary editable install doubles the start of every process.
EDITABLE := --config-settings editable_mode=compat -e
# Four at a time, however many cores there are: most tests wait for processes of theirs, and not for a core.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder
ARGS ?=
N ?= 20
MINUTES ?= 60

.PHONY: demo run test test-repeat test-pythons mutants check format pre-commit wheel constraints \
	bench bench-compare bench-publishes chaos soak soak-service nsqd nsq-clients promtool clean help

demo: $(VENV)/ready  ## the whole job once, on a queue of its own, with a report
	@$(BIN)/python supervisor.py demo $(ARGS)

run: $(VENV)/ready  ## the service, until Ctrl-C
	@$(BIN)/python supervisor.py run $(ARGS)

test: $(VENV)/ready-tests  ## all tests (some need nsqd or chromium: see the README)
	$(PYTEST) $(ARGS)

test-repeat: $(VENV)/ready-tests  ## a selection N times on a busy machine: N=20 ARGS="tests/unit -k name"
	@case "$(N)" in ''|*[!0-9]*|0*) echo "N is '$(N)', expected a number of runs, 1 or more" >&2; exit 2;; esac
	@number=1; while [ $$number -le $(N) ]; do \
		echo "run $$number of $(N)"; \
		$(PYTEST) --busy 2 --halts $(ARGS) || exit 1; \
		number=$$((number + 1)); \
	done

test-pythons: $(VENV)/ready-tests  ## unit tests and simulation on every Python from 3.11 to 3.14 that is there
	@$(BIN)/python -m tests.support.pythons $(ARGS)

mutants: $(VENV)/ready-tests  ## 60 small mistakes made in the rules, stores and sinks: the tests must notice them
	@$(BIN)/python -m tests.mutants $(ARGS)

check: $(VENV)/ready-dev  ## formatter, linter, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/ready-dev  ## put all files into the formatter's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pre-commit: $(VENV)/ready-dev  ## run the checks at every commit from now on
	$(BIN)/pre-commit install

wheel: $(VENV)/ready-tests  ## source distribution and wheel into dist/: the same bytes each time
	@$(BIN)/python tools/build.py

constraints: $(VENV)/ready-dev  ## write the newest versions that setup.cfg allows into constraints.txt
	$(PIP) install --quiet --upgrade --upgrade-strategy eager $(EDITABLE) '.[dev]'
	{ sed '/^[^#]/,$$d' constraints.txt; $(PIP) freeze --all --exclude pip --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt

bench: $(VENV)/ready-tests  ## speed, as ratios within one run
	@$(BIN)/python -m bench $(ARGS)

bench-compare: $(VENV)/ready-tests  ## this code beside another commit's: REF=<commit>
	@$(BIN)/python -m bench.compare $(REF) $(ARGS)

chaos: $(VENV)/ready-tests  ## 500 kills and every other fault on real processes, and exact totals
	@$(BIN)/python -m tests.chaos --kills 500 $(ARGS)

soak: $(VENV)/ready-tests  ## the simulation of the whole service on 50,000 seeds
	@$(BIN)/python -m tests.simulation --seeds 50000 --jobs $$(getconf _NPROCESSORS_ONLN) $(ARGS)

soak-service: $(VENV)/ready-tests  ## whether anything grows at 3,000 plays a second: MINUTES=60
	@$(BIN)/python -m bench.soak --minutes $(MINUTES) $(ARGS)

bench-publishes: $(VENV)/ready-tests  ## publishes beside the fewest possible, in virtual time
	@$(BIN)/python -m bench.publishes $(ARGS)

nsqd: ## build the real nsqd for the tests (needs Go); prints the folder to put on PATH
	@tests/nsq/build.sh

nsq-clients: ## build clients of other languages for the tests (needs Go and npm); prints the folder
	@tests/conformance/clients/build.sh

promtool: ## build Prometheus' promtool for the tests (needs Go); prints the folder to put on PATH
	@tests/promtool/build.sh

clean:  ## remove what make made
	rm -rf $(VENV) .pythons .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info build dist
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/python-checked:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/ready: setup.cfg pyproject.toml constraints.txt $(VENV)/python-checked
	$(PIP) install --quiet -c $(CONSTRAINTS) $(EDITABLE) .
	@touch $@

$(VENV)/ready-tests: $(VENV)/ready
	$(PIP) install --quiet -c $(CONSTRAINTS) $(EDITABLE) '.[test]'
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(PIP) install --quiet -c $(CONSTRAINTS) $(EDITABLE) '.[dev]'
	@touch $@
