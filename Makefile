# Fresh machine: `make reproduce` makes every table and figure at the default scale, `make test` runs the tests.
# Both first make .venv from requirements.lock; nothing else needs to be installed by hand.

PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
ENVIRONMENT := .venv/.installed
# Called as `python -m`: a script's first line names its interpreter, and blanks in that name are trouble.
BIN := .venv/bin

.PHONY: reproduce test lint format clean

reproduce: $(ENVIRONMENT)
	$(BIN)/python -m snakemake --cores $(CORES) all

test: $(ENVIRONMENT)
	$(BIN)/python -m pytest --numprocesses $(CORES)

lint: $(ENVIRONMENT)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m snakefmt --check Snakefile workflow
	$(BIN)/python -m snakemake --lint

format: $(ENVIRONMENT)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .
	$(BIN)/python -m snakefmt Snakefile workflow

clean:
	rm -rf results/mini .snakemake

$(ENVIRONMENT): requirements.lock pyproject.toml
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sadetr needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch "$@"
