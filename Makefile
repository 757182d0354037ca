# Every target makes what it needs; the environment lives in .venv.
# GPU=1 installs the CUDA build of vLLM instead of the CPU build.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed$(if $(GPU),-gpu,)
# uv does not read pip's configuration: hand its local wheels on, or else name PyTorch's own CPU index.
LINKS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
CPU := '.[cpu,dev]' --excludes cpu-excludes.txt -c constraints-cpu.txt $(if $(LINKS),--find-links $(LINKS),--torch-backend cpu)
CUDA := '.[gpu,dev]' --torch-backend auto
# Importing vLLM from source files takes 25 s, from byte code 7: set-up compiles, and nothing may forbid it.
export PYTHONDONTWRITEBYTECODE :=
ONE_THREAD := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: quickstart control test test-all lint types format bench clean setup constraints oldest resolve

quickstart: $(STAMP)  ## the main job: a tiny model made better by its own answers
	$(BIN)/selfimprove run quickstart

control: $(STAMP)  ## the same optimiser steps on the demonstrations alone
	$(BIN)/selfimprove run quickstart-control

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-cpu.txt cpu-excludes.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode -e $(if $(GPU),$(CUDA),$(CPU))
	$(BIN)/python -m compileall -q selfimprove pipelines verifiers
	@touch $@

test: $(STAMP)  ## under ten minutes on two cores
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow"

test-all: $(STAMP)  ## everything, with a ledger of time by area
	$(ONE_THREAD) $(BIN)/python -m pytest --ledger

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy benchmarks

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## ratios against raw baselines, measured in one run
	$(BIN)/python -m benchmarks

# What is installed if every requirement is taken at its lowest: the claims of pyproject.toml are true, or this fails.
oldest:  ## the oldest supported set, and the tests of trainer and sampler on it
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=.venv-oldest .venv-oldest/bin/uv pip install --quiet --resolution lowest-direct -e \
	  '.[cpu,dev]' --excludes cpu-excludes.txt $(if $(LINKS),--find-links $(LINKS),--torch-backend cpu)
	$(ONE_THREAD) .venv-oldest/bin/python -m pytest -q -m "not slow" tests/training tests/sampling tests/config

resolve: $(STAMP)  ## do the newest and the oldest supported versions still resolve together?
	$(RESOLVE) --upgrade --quiet -o /dev/null
	$(RESOLVE) --resolution lowest-direct --quiet -o /dev/null

# atheris needs another release on Python 3.12: it is not pinned.
RESOLVE := $(BIN)/uv pip compile pyproject.toml --extra cpu --extra dev --excludes cpu-excludes.txt --no-annotate \
  --no-emit-find-links --no-emit-package atheris $(if $(LINKS),--find-links $(LINKS),--torch-backend cpu)

constraints: $(STAMP)  ## resolve the newest versions again
	$(RESOLVE) --upgrade -o constraints-cpu.txt

clean:
	rm -rf .venv .venv-oldest build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
