# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv first.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# TensorFlow has wheels for these; the first that works makes the environment.
# A particular one: make demo PYTHON=/path/to/python3.12
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Stamps: a second call installs nothing unless one of these files has changed.
FOR_USE := $(VENV)/.installed-user
FOR_TESTS := $(VENV)/.installed-test

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow lint format bench notebooks venv clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(FOR_USE) ## segment the sample with the default model
	@$(BIN)/gmseg demo --overwrite

test: lint ## lint, then all tests but the slow ones
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --ignore tests/test_notebooks.py
	@$(BIN)/python -m pytest -m "not slow" tests/test_notebooks.py # by themselves: their time counts

test-slow: $(FOR_TESTS) ## the slow tests alone
	@$(BIN)/python -m pytest -m slow

lint: $(FOR_TESTS) ## rules, format, layers of imports, types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m mypy

format: $(FOR_TESTS) ## mend what ruff can mend
	@$(BIN)/python -m ruff check --fix-only
	@$(BIN)/python -m ruff format

bench: $(FOR_USE) ## how fast it is, beside its rivals: writes docs/performance.md (20 minutes)
	@$(PIP) install -q -e '.[bench]'
	@$(BIN)/python benchmarks/run.py
	@$(BIN)/python benchmarks/training.py

notebooks: $(FOR_TESTS) ## run every notebook top to bottom and keep its outputs
	@$(BIN)/python -m nbconvert --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

venv: $(FOR_TESTS) ## only set up .venv, for use and for tests
	@:

clean: ## remove caches and build products, keep .venv
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	  -type d -exec rm -rf {} +

distclean: clean ## remove .venv as well
	@rm -rf $(VENV)

$(BIN)/pip:
	@for python in $(PYTHONS); do \
	  if $$python -c '$(FITS)' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "error: no Python 3.11, 3.12 or 3.13 with its venv module among: $(PYTHONS)" \
	  "(the first is: $$($(firstword $(PYTHONS)) --version 2>/dev/null || echo missing));" \
	  "install one (Debian, Ubuntu: apt install python3-venv) or name it:" \
	  "make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.12" >&2; \
	exit 1

$(FOR_USE): pip-requirements.txt pyproject.toml | $(BIN)/pip
	@$(BIN)/python -c '$(FITS)' || { \
	  echo "error: $(VENV) has $$($(BIN)/python --version), and 3.11 to 3.13 is needed;" \
	    "remove it (make distclean) and try again" >&2; exit 1; }
	@echo "Installing gmseg and what it needs into $(VENV) (TensorFlow, Jupyter, ..: some minutes)"
	@$(PIP) install -q -r pip-requirements.txt
	@touch $@

$(FOR_TESTS): $(FOR_USE)
	@echo "Installing what the tests need into $(VENV)"
	@$(PIP) install -q -e '.[test]'
	@touch $@
