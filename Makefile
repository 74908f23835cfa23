# `make` lists the targets. Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test acceptance lint types bench clean

help:
	@echo "make install   make .venv with everything (several GB to download, some minutes)"
	@echo "make demo      train a network on a small generated set and write a report (some minutes)"
	@echo "make test      run the tests"
	@echo "make acceptance   run all tests of what users have (some minutes)"
	@echo "make lint      check style and formatting"
	@echo "make types     check the types"
	@echo "make bench     measure loading and indexing"
	@echo "make docs      build docs/ as a site in build/site"
	@echo "make clean     remove caches and build leftovers; outputs/ and .venv stay"
	@echo
	@echo "Another Python: make PYTHON=python3.12 ..."

install: $(VENV)/.installed

# Done again when the requirements change.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "error: Python 3.11 or newer is needed, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true);" \
		"give another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing visionlab and what it needs into $(VENV)."
	@echo "PyTorch alone is several GB to download; this takes minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --disable-pip-version-check -q --progress-bar off -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "Done. Commands: $(BIN)/visionlab --help"

demo: install
	@echo "Training ResNet-34 to tell the distance from focus, on generated images."
	$(BIN)/python -m visionlab.train task=focus model=resnet34

test: install
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not acceptance"

acceptance: install
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/acceptance

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

bench: install
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

docs: install
	@$(BIN)/pip install --disable-pip-version-check -q --progress-bar off -c constraints.txt -e '.[docs]'
	$(BIN)/zensical build --strict

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
	find . -path ./$(VENV) -prune -o -path ./outputs -prune -o -name __pycache__ -type d -exec rm -rf {} +
