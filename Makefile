# The commands a newcomer needs: `make figures` draws the tiny study, `make test` checks everything in minutes.
# Both make `.venv` if it is missing and touch it again only when the locks change.
#
#   PYTHON    interpreter for the virtual environment (3.11 or 3.12)
#   PIP_ARGS  extra arguments for pip; outside this lock's machine, e.g.
#             make figures PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#             takes PyTorch's CPU build instead of the much larger default one.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= config/tiny.yaml

.DELETE_ON_ERROR:
GPU_PYTHON ?= .venv-gpu/bin/python

.PHONY: figures report test test-all test-slurm test-gpu slurm-packages check docs schema clean-venv

figures: $(VENV)/.installed ## train, evaluate, fit and draw config/tiny.yaml
	$(BIN)/snakemake --profile profiles/local --config study=$(STUDY) -- all_figures all_tables

report: $(VENV)/.installed ## one HTML file with figures, tables and captions
	$(BIN)/snakemake --profile profiles/local --config study=$(STUDY) --report report.html

test: $(VENV)/.installed ## the test suite, at most 30 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow and not gpu"

test-all: $(VENV)/.installed ## everything, simulations and fault injection included
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slurm and not gpu"
	$(MAKE) test-slurm

# One cluster at a time, so these run one after the other. The last result is committed and shown by every test run.
test-slurm: $(VENV)/.installed ## all tests on a Slurm of their own (root, TWOSTAGE_SLURM_TESTS=1), written to tests/slurm/last-run.txt
	$(BIN)/python -m pytest -m slurm --slurm-report tests/slurm/last-run.txt

slurm-packages: ## Debian's Slurm for test-slurm; refused where a Slurm is
	$(PYTHON) tests/slurm/packages.py

test-gpu: ## what only a machine with a GPU can test (docs/gpu.md); uses GPU_PYTHON, since .venv holds the CPU build
	$(GPU_PYTHON) -m pytest -m gpu tests/gpu

check: $(VENV)/.installed ## format, lint, types, workflow lint
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
	$(BIN)/python -m twostage.study.schema config/study.schema.json

# Torch first and alone: any other package would pull the newest build with gigabytes of CUDA libraries.
$(VENV)/.installed: envs/cpu.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) "$$(grep '^torch==' envs/cpu.txt)"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -r envs/cpu.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean-venv: ## remove the virtual environment
	rm -rf $(VENV)
