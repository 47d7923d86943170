# `make` alone lists what there is. Needs only Python 3.11-3.13 and make.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin

# The interpreter that .venv is made from; give PYTHON=... for another.
PYTHON ?= $(shell for p in python3.11 python3; do if $$p -c '' 2>/dev/null; then echo $$p; break; fi; done)

CONFIG ?= lightning_configs/lora_mlp.yaml

# The grid: which, where, how many jobs at a time, and what else Snakemake is told (ARGS=--dry-run).
GRID ?= smoke
EXECUTOR ?= local
JOBS ?= $(if $(filter slurm,$(EXECUTOR)),100,$(shell nproc))
WORKFLOW = $(BIN)/python experiments/workflow.py

# A file's tests share what they make, so a file is one process's; more than four gain little, since each starts torch.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# uv reads none of pip's settings. Its list of wheel folders is divided by commas, pip's by blanks.
empty :=
comma := ,
space := $(empty) $(empty)
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))

.PHONY: help setup fit demo phantom ablation-grid grid-plan grid-status grid-report tensorboard test test-slow test-all lint bench faults mutations docs format types check constraints clean

help: ## list these targets
	@echo 'usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it, once

$(READY): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	  || { echo "make setup: needs Python 3.11, 3.12 or 3.13, found $$($(or $(PYTHON),false) --version 2>/dev/null || echo none); give one with 'make setup PYTHON=/path/to/python3.11'" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "make setup: $(PYTHON) cannot make virtual environments; install its venv module (on Debian: python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev]'
	@touch $@

fit: $(READY) ## train: make fit [CONFIG=lightning_configs/NAME.yaml] [ARGS='--trainer.max_steps 10']
	$(BIN)/python -m tte_tee fit --config $(CONFIG) $(ARGS)

demo: $(READY) ## open a page on which masks are painted and their frames seen: make demo [ARGS='--adapter DIR']
	$(BIN)/python -m tte_tee studio $(ARGS)

phantom: $(addprefix data/phantom/,base.h5 adaptation.h5 pool.h5 test.h5 all_real.h5 others.h5) ## make the phantom's cohorts, but the confirmatory one, in data/phantom

data/phantom/all_real.h5: data/phantom/adaptation.h5 data/phantom/pool.h5
	$(BIN)/python -m tte_tee data merge $^ --out $@

data/phantom/others.h5: data/phantom/pool.h5
	$(BIN)/python -m tte_tee data split $^ --val 0.1 --test 0 --out $@

data/phantom/%.h5: | $(READY)
	$(BIN)/python -m tte_tee data phantom --cohort $* --out $@

$(VENV)/.grid: $(READY)
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev,grid]'
	@touch $@

ablation-grid: grid-plan ## run a grid of arms and report: make ablation-grid [GRID=smoke|laptop|full] [EXECUTOR=local|slurm] [JOBS=N]
	$(WORKFLOW) run --grid $(GRID) --executor $(EXECUTOR) --jobs $(JOBS) $(if $(ARGS),-- $(ARGS)) \
	  || { $(WORKFLOW) status --grid $(GRID); $(MAKE) grid-report; exit 1; }
	$(MAKE) grid-report

grid-plan: $(VENV)/.grid ## say what a grid would still do, and the hours: make grid-plan [GRID=...]
	$(WORKFLOW) plan --grid $(GRID) --jobs $(JOBS)

grid-status: $(VENV)/.grid ## say which cells are done, missing or failed: make grid-status [GRID=...]
	$(WORKFLOW) status --grid $(GRID)

grid-report: $(VENV)/.grid ## report on the cells that are done: make grid-report [GRID=...]
	$(BIN)/python -m tte_tee report experiments/results/$(GRID) --out runs/grid/$(GRID)/report.html

tensorboard: $(READY) ## open the curves, pictures and options of all runs: make tensorboard [ARGS='--port 7000']
	$(BIN)/tensorboard --logdir runs --samples_per_plugin images=0 --reload_multifile true $(ARGS)

test: $(READY) ## run the tests, without the slow ones: make test [ARGS='-k store']
	$(PYTEST) -m 'not slow' $(ARGS)

test-slow: $(READY) ## run the slow tests alone
	$(PYTEST) -m slow $(ARGS)

test-all: $(READY) ## run all tests and say which lines none of them reaches
	$(PYTEST) --cov $(ARGS)

bench: $(READY) ## measure what a user waits for, into experiments/bench: make bench [ARGS='--device cuda']
	$(BIN)/python experiments/bench/run.py $(ARGS)

mutations: $(READY) ## break lines that results rest on, one at a time, and say which test notices: make mutations [ARGS=leak]
	$(BIN)/python experiments/mutations.py $(ARGS)

faults: $(READY) ## kill commands and spoil their inputs, hundreds of times (hours), into experiments/bench/faults.*
	$(BIN)/python experiments/bench/faults.py --out experiments/bench/faults.json $(ARGS)

$(VENV)/.docs: $(READY)
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev,docs]'
	@touch $@

docs: $(VENV)/.docs ## build the documentation site into build/docs, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'left in build/docs: open build/docs/index.html'

lint: $(READY) ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## put style and format right, where that can be done by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## check types
	$(BIN)/mypy

check: lint types test ## what must pass before a change goes in

constraints: $(READY) ## write constraints.txt anew, from the bounds of pyproject.toml
	UV_FIND_LINKS= $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	  --upgrade --extra dev --extra grid --extra docs --no-header --no-annotate -o constraints.txt pyproject.toml

clean: ## remove caches and build outputs; .venv and runs/ stay
	rm -rf build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
