# Fresh machine: `make reproduce` makes every table and figure at the default scale, `make test` runs the tests.
# Both first make .venv from requirements.lock; nothing else needs to be installed by hand.

PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
ENVIRONMENT := .venv/.installed
BIN := .venv/bin

.PHONY: reproduce test lint format clean

reproduce: $(ENVIRONMENT)
	$(BIN)/snakemake --cores $(CORES) all

test: $(ENVIRONMENT)
	$(BIN)/python -m pytest --numprocesses $(CORES)

lint: $(ENVIRONMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow

format: $(ENVIRONMENT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

clean:
	rm -rf results/mini .snakemake

$(ENVIRONMENT): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sadetr needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
