# Fresh machine: `make reproduce` makes every table and figure at the default scale, `make test` runs the tests.
# Both first make .venv from requirements.lock; nothing else needs to be installed by hand.

PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
ENVIRONMENT := .venv/.installed
# Called as `python -m`: a script's first line names its interpreter, and blanks in that name are trouble.
BIN := .venv/bin

# Benchmarks that need no data: on the processor alone; on any device, once or method by method.
MEASURED := dag_overhead feature_store scorer taped_step
ON_DEVICE := batch evaluation matching saving
BY_METHOD := memory training_step
METHODS := $(basename $(notdir $(wildcard config/methods/*.yaml)))
LINES := results/benchmarks

# Arguments: script, kind of device in the file's name, options. Lines are added to those of earlier calls.
define measure
	$(BIN)/python benchmarks/$(1).py $(3) >> $(LINES)/$(1).$(2).jsonl

endef
# Ways of a step beside the plain one in float32, which is among the benchmarks of any device.
STEPS_ON_GPU := "--step captured" "--precision tf32" "--precision bf16" \
	"--step captured --precision tf32" "--step captured --precision bf16"
define measure_device
	$(foreach script,$(ON_DEVICE),$(call measure,$(script),$(1),--device $(1)))
	$(foreach script,$(BY_METHOD),$(foreach method,$(METHODS),$(call measure,$(script),$(1),--device $(1) --method $(method))))
endef

.PHONY: reproduce test benchmark benchmark-gpu lint format clean

reproduce: $(ENVIRONMENT)
	$(BIN)/python -m snakemake --cores $(CORES) all

test: $(ENVIRONMENT)
	$(BIN)/python -m pytest --numprocesses $(CORES)

# `python -m sadetr plan --lines results/benchmarks` reads what these measure.
benchmark: $(ENVIRONMENT)
	mkdir -p $(LINES)
	$(foreach script,$(MEASURED),$(call measure,$(script),cpu,))
	$(call measure_device,cpu)

benchmark-gpu: $(ENVIRONMENT)
	$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "torch sees no GPU: nothing to measure")'
	mkdir -p $(LINES)
	$(call measure_device,cuda)
	for options in $(STEPS_ON_GPU); do \
		for method in $(METHODS); do \
			$(BIN)/python benchmarks/training_step.py --device cuda --method $$method $$options \
				>> $(LINES)/training_step.cuda.jsonl || exit 1; \
		done; \
	done

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
