# Two commands: `make demo` and `make test`. Both first set up what they need in .venv.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# TensorFlow has wheels for these versions; the first that works creates the environment.
# To choose one: make demo PYTHON=/path/to/python3.12
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Stamps: packages are installed again only if one of the requirements has changed.
FOR_USE := $(VENV)/.installed-user
FOR_TESTS := $(VENV)/.installed-test

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow lint format bench notebooks venv clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(FOR_USE) ## segment the synthetic sample with the default model
	@$(BIN)/gmseg demo --overwrite

test: lint ## lint, then run all tests and examples except the slow ones
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --doctest-modules gmseg tests --ignore tests/test_notebooks.py
	@$(BIN)/python -m pytest -m "not slow" tests/test_notebooks.py # alone: their running time is checked

test-slow: $(FOR_TESTS) ## run the slow tests only
	@$(BIN)/python -m pytest -m slow

lint: $(FOR_TESTS) ## check rules, format, layers of imports and types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m mypy

format: $(FOR_TESTS) ## fix what ruff can fix
	@$(BIN)/python -m ruff check --fix-only
	@$(BIN)/python -m ruff format

bench: $(FOR_USE) ## measure the speed and write docs/performance.md (20 minutes)
	@$(PIP) install -q -e '.[bench]'
	@$(BIN)/python benchmarks/run.py
	@$(BIN)/python benchmarks/training.py

notebooks: $(FOR_TESTS) ## run every notebook from top to bottom and store its outputs
	@$(BIN)/python -m nbconvert --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

venv: $(FOR_TESTS) ## set up .venv, for use and for tests
	@:

clean: ## remove caches and build products, but not .venv
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	  -type d -exec rm -rf {} +

distclean: clean ## remove .venv as well
	@rm -rf $(VENV)

$(BIN)/pip:
	@for python in $(PYTHONS); do \
	  if $$python -c '$(FITS)' 2>/dev/null; then \
	    echo "Creating $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "error: no Python 3.11, 3.12 or 3.13 with its venv module among: $(PYTHONS)" \
	  "(the first is: $$($(firstword $(PYTHONS)) --version 2>/dev/null || echo missing));" \
	  "install one (Debian, Ubuntu: apt install python3-venv) or choose one with:" \
	  "make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.12" >&2; \
	exit 1

$(FOR_USE): pip-requirements.txt pyproject.toml | $(BIN)/pip
	@$(BIN)/python -c '$(FITS)' || { \
	  echo "error: $(VENV) has $$($(BIN)/python --version), and 3.11 to 3.13 is needed;" \
	    "remove it (make distclean) and try again" >&2; exit 1; }
	@echo "Installing gmseg and its requirements into $(VENV) (TensorFlow, Jupyter, ...: some minutes)"
	@$(PIP) install -q -r pip-requirements.txt
	@touch $@

$(FOR_TESTS): $(FOR_USE)
	@echo "Installing the requirements of the tests into $(VENV)"
	@$(PIP) install -q -e '.[test]'
	@touch $@
