# make demo    the environment, and the whole chain on a small archive that it makes
# make test    the environment, and the tests
# make lint    ruff and mypy
# make bench   figures of docs/results.md (needs the dev corpus in ../shared)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made

.PHONY: demo test lint bench

demo: $(MADE)
	$(BIN)/python -m jobs demo

test: $(MADE)
	$(BIN)/python -m pytest

lint: $(MADE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(MADE)
	$(BIN)/python -m bench.dev_corpus

# the environment: made anew when what it is made from changes
$(MADE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
