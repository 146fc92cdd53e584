# `make figures` draws the tiny study, `make test-fast` is for use while editing, `make test` tests everything in minutes.
# All of them make `.venv` if it is missing, and update it only when the lock changes.
#
#   PYTHON    interpreter for the virtual environment (3.11 and 3.12)
#   PIP_ARGS  extra arguments for pip, for example PyTorch's CPU build instead of the much larger default one:
#             make figures PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   STUDY     study file of `make figures` and `make report`
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= config/tiny.yaml
GPU_PYTHON ?= .venv-gpu/bin/python
# A module's tests share fixtures, so each module runs in one process; tests/conftest.py puts the longest modules first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

.DELETE_ON_ERROR:

.PHONY: figures report test test-fast test-all test-slurm test-gpu slurm-packages check docs schema clean-venv

figures: $(VENV)/.installed ## train, evaluate, fit and draw config/tiny.yaml
	$(BIN)/snakemake --profile profiles/local --config study=$(STUDY) -- all_figures all_tables

report: $(VENV)/.installed ## one HTML file with figures, tables and captions
	$(BIN)/snakemake --profile profiles/local --config study=$(STUDY) --report report.html

test: $(VENV)/.installed ## all tests but the slow ones: under 15 minutes on two cores
	$(PYTEST) -m "not slow and not gpu"

test-fast: $(VENV)/.installed ## what to run while editing: no training, no Snakemake; under 3 minutes on two cores
	$(PYTEST) -m "not slow and not gpu and not slurm and not workflow and not long"

test-all: $(VENV)/.installed ## all tests, with simulations and injected faults
	$(PYTEST) -m "not slurm and not gpu"
	$(MAKE) test-slurm

# One cluster at a time, so these tests run one after the other. The last result is committed, and each test run shows it.
test-slurm: $(VENV)/.installed ## tests on a Slurm cluster that they start (root, TWOSTAGE_SLURM_TESTS=1); writes tests/slurm/last-run.txt
	$(BIN)/python -m pytest -m slurm --slurm-report tests/slurm/last-run.txt

slurm-packages: ## install Debian's Slurm for test-slurm; refused on a machine that has Slurm
	$(PYTHON) tests/slurm/packages.py

test-gpu: ## tests that need a GPU (docs/gpu.md); uses GPU_PYTHON, since .venv has the CPU build
	$(GPU_PYTHON) -m pytest -m gpu tests/gpu

check: $(VENV)/.installed ## formatters, linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/mypy

docs: .venv-docs/.installed ## the documentation site, site/index.html; a broken link is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-docs/.installed: envs/docs.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet $(PIP_ARGS) -r envs/docs.txt
	touch $@

schema: $(VENV)/.installed ## write config/study.schema.json from the models
	$(BIN)/python -m twostage.catalogue.schema config/study.schema.json

# Torch first and alone: any other package would install its newest build, with gigabytes of CUDA libraries.
$(VENV)/.installed: envs/cpu.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) "$$(grep '^torch==' envs/cpu.txt)"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -r envs/cpu.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean-venv: ## remove the virtual environment
	rm -rf $(VENV)
