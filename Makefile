# Everything a person types. Both environments are made on first use and kept.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test quick check lint types contracts bench bench-edge clean

help:  ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/runtime: setup.cfg pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/dev: setup.cfg pyproject.toml $(VENV)/runtime
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

# Real servers that the tests start, in an environment of their own.
.servers/installed: tests/servers/requirements.txt
	@test -x .servers/bin/python || $(PYTHON) -m venv .servers
	@.servers/bin/python -m pip install -q --disable-pip-version-check -r tests/servers/requirements.txt
	@touch $@

# Another implementation that leases are held against; where npm is not, or cannot, its tests are skipped.
.interop/installed: tests/interop/package.json tests/interop/package-lock.json
	@mkdir -p .interop && cp $^ .interop/
	@cd .interop && npm install --silent --no-save --no-audit --no-fund --ignore-scripts --omit=optional && touch installed \
		|| echo "npm is missing, or could not install: tests of interoperability are skipped"

demo: $(VENV)/runtime  ## Publish two builds, install one, update to the other, compare (OLD=dir NEW=dir)
	@$(BIN)/playhead demo $(if $(OLD),--old '$(OLD)') $(if $(NEW),--new '$(NEW)')

# A process a core, and all tests of a file in one: what a file starts is started once.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

test: $(VENV)/dev .servers/installed .interop/installed  ## The whole suite
	@$(PYTEST)

quick: $(VENV)/dev  ## The suite without its slow tests
	@$(PYTEST) -m 'not slow'

check: lint types contracts quick  ## Lint, types, import contracts, quick tests, docs in sync

lint: $(VENV)/dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/dev
	@$(BIN)/mypy

contracts: $(VENV)/dev
	@$(BIN)/lint-imports

bench-edge: $(VENV)/dev  ## An edge beside nginx and Varnish (SAVE=1 keeps the results)
	@$(BIN)/python -m benchmarks.edge $(if $(SAVE),--save)

bench: $(VENV)/dev  ## Every benchmark, side by side with its peer (SAVE=1 keeps the results)
	@$(BIN)/python -m benchmarks $(if $(SAVE),--save)

clean:  ## Remove what make made
	@rm -rf $(VENV) .servers .interop .demo build dist *.egg-info
