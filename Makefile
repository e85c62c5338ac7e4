# make demo: from nothing to samples. make test: the tests. make check: lint, types, imports.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow check setup

demo: setup
	$(BIN)/python examples/digits.py --out demo

test: setup
	$(BIN)/pytest

test-slow: setup
	$(BIN)/pytest -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

setup: $(READY)

# torch is named in the same command as all else: left to a dependency, it would come with gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0 --editable ".[dev]"
	touch $@
