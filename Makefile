# `make help` lists what there is. Everything sets itself up: a fresh machine needs Python 3.11 to 3.13, make, a C and a C++ compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DISTRIBUTIONS := protos kit services/tuner services/coordinator services/squeezer clients/python clients/worker
STAMP := $(VENV)/setup.stamp
SOURCES := kit/hydro services/*/hydro clients/*/hydro benchmarks clients/python/references
# Tests run in so many processes, but for those that pin processes to cores or look at the shares of them.
TEST_PROCESSES ?= 2
ALONE := tests/integration/squeezer tests/end_to_end/demo tests/end_to_end/engines
TOGETHER := -n $(TEST_PROCESSES) --dist loadfile
COMPOSE := docker compose -f deploy/compose.yaml

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: setup
setup: $(STAMP) ## Create the environment in .venv

$(STAMP): constraints.txt development.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS)) protos/compile_protos.py
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed, not %d.%d: set PYTHON=python3.12, for one" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PIP) torch==2.13.0
	DS_BUILD_OPS=0 $(PIP) -r development.txt $(addprefix -e ,$(DISTRIBUTIONS))
	touch $@

.PHONY: demo
demo: setup ## Tune a real model on real data through all the services
	$(BIN)/hydro demo

.PHONY: test
test: check ## Check the code and run the tests (under 15 minutes)
	$(BIN)/python -m pytest -m "not slow" $(TOGETHER) $(addprefix --ignore ,tests/unit tests/rules $(ALONE))
	$(BIN)/python -m pytest -m "not slow" $(ALONE)

.PHONY: test-slow
test-slow: setup ## The proofs that take long: real engines, faults, containers (under 25 minutes)
	$(BIN)/python -m pytest -m slow $(TOGETHER) --durations 10 $(addprefix --ignore ,$(ALONE))
	$(BIN)/python -m pytest -m slow --durations 10 $(ALONE)

.PHONY: check
check: setup ## Format, lint, types, floors, contract, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python -m pytest -m "not slow" $(TOGETHER) tests/unit tests/rules

.PHONY: format
format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: protos
protos: setup ## Compile the contract after an edit, and write its reference
	$(BIN)/python protos/compile_protos.py
	$(BIN)/python protos/write_reference.py

.PHONY: api-reference
api-reference: setup ## Write docs/api.md from the protos
	$(BIN)/python protos/write_reference.py

.PHONY: references
references: setup ## Write docs/sdk.md, docs/command-line.md and docs/study-file.md from the code
	$(BIN)/python clients/python/references

.PHONY: soak
soak: setup ## Drive a study for an hour, or HYDRO_SOAK_SECONDS, and look for growth
	HYDRO_SOAK_SECONDS=$${HYDRO_SOAK_SECONDS:-3600} $(BIN)/python -m pytest -m slow --timeout 0 tests/end_to_end/driven/test_soak.py

.PHONY: up
up: ## Build and start the suite in containers
	$(COMPOSE) up --build --detach --wait

.PHONY: down
down: ## Stop the containers and remove their data
	$(COMPOSE) down --volumes

.PHONY: clean
clean: ## Remove the environment and what was generated
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find protos -name '*_pb2*.py*' -delete
