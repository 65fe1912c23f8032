# Everything a newcomer needs. It wants make and Python >= 3.11, installs into .venv only, asks for no root.
PYTHON ?= python3
DATA ?= .demo
PORT ?= 8000
# One more than cores: many tests wait for clocks and other processes.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
BIN := .venv/bin
CODE := backend bots schema workers tests
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-check demo-reset test coverage bench-field bench-money bench-control chaos chaos-long simulate simulate-policy lint format lock ci

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: .venv/stamp ## .venv with the locked packages (does nothing when it is up to date)

# uv takes seconds where pip takes a minute; where it cannot reach packages (it does not read pip's
# own settings) pip does the same work, from the same file and hashes.
.venv/stamp: requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This needs Python 3.11 or newer. Say which one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements/uv.txt
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt \
	  || $(PIP) --require-hashes -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the whole product on this machine, with a simulated site
	$(BIN)/shuidian demo --data "$(DATA)" --port "$(PORT)"

demo-check: setup ## start the demo on throw-away data, buy, look, stop: one JSON line
	@$(BIN)/shuidian demo-check

demo-reset: setup ## remove the demo's data
	$(BIN)/python -c 'import sys, pathlib, backend.sandbox.embedded as e; e.EmbeddedServices.erase(pathlib.Path(sys.argv[1]))' "$(DATA)"

# No package of Python brings a browser, or the broker of production: .ci/run installs them, elsewhere their
# tests want those that are there.
MISSING := $(strip $(foreach each,chromium mosquitto,$(if $(shell PATH="$$PATH:/usr/sbin" command -v $(each)),,$(each))))
EMPTY :=
test: setup ## all tests
	@$(if $(MISSING),echo "Not here$(foreach each,$(MISSING), $(each)): their tests are left out. On Debian: apt install $(MISSING)",:)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(MISSING),-m "not ($(subst $(EMPTY) $(EMPTY), or ,$(MISSING)))")

coverage: setup ## each line and branch of ledger, tariffs and the rules of control and top-ups is walked by a test
	@$(BIN)/python -m tests.coverage

bench-field: setup ## field benchmarks, one JSON object; wants gcc and libmodbus-dev
	@$(BIN)/python -m tests.bench field

bench-money: setup ## top-ups settled, charges posted, paid to verified, against bare baselines (JSON)
	@$(BIN)/python -m tests.bench money

bench-control: setup ## commands to the gateway while a sweep runs, decisions, a batch of trips (JSON); wants gcc
	@$(BIN)/python -m tests.bench control

chaos: setup ## kill -9, crashes and lost notices while tenants pay: four sums must agree
	@$(BIN)/shuidian chaos --kills 200 --pg-crashes 3 --payments 1500 --seed 1 --json

chaos-long: setup ## the same with 2,000 kills and 20,000 payments
	@$(BIN)/shuidian chaos --kills 2000 --pg-crashes 50 --payments 20000 --seed 1 --json

simulate: setup ## 1,000 seeds of the money journeys on a virtual clock, dying at every commit and send
	@$(BIN)/shuidian simulate --seed 1 --seeds 1000 --steps 200 --json

simulate-policy: setup ## 100,000 meter-days of cuts and restores with every fault: nobody in the dark by mistake
	@$(BIN)/shuidian simulate --policy --meter-days 100000 --seed 1 --json

lint: setup ## style, types, arrows between rooms, drift of the printed schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	$(BIN)/shuidian schema --check

format: setup ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# `make lock` keeps the versions that still fit; `make lock UPGRADE=--upgrade` takes the newest.
lock: ## write requirements/*.txt anew from pyproject.toml
	$(LOCK) pyproject.toml --extra demo --output-file requirements/app.txt
	$(LOCK) pyproject.toml --extra demo --extra dev --constraint requirements/app.txt --output-file requirements/dev.txt
	$(LOCK) pyproject.toml --constraint requirements/app.txt --output-file requirements/serve.txt
	echo uv | $(LOCK) - --constraint requirements/dev.txt --output-file requirements/uv.txt
	echo hatchling | $(LOCK) - --constraint requirements/dev.txt --output-file requirements/build.txt

ci: ## what the pipeline runs
	.ci/run
