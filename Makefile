# Two commands: `make demo` and `make test`. Both first set up what they need in .venv.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOWEST := .venv-lowest

# Versions and hashes of all packages. To install these instead of the newest versions, as CI does:
# make venv LOCK=.ci/requirements.txt
LOCK :=
LOCKED = $(PIP) install -q --require-hashes -r $(LOCK) && \
  $(PIP) install -q --no-deps --no-build-isolation -e .

# TensorFlow has wheels for these versions; the first that works creates the environment.
# To choose one: make demo PYTHON=/path/to/python3.12
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# an environment that was made before may be of another version
define CHECK
$(BIN)/python -c '$(FITS)' || { \
  echo "error: $(VENV) has $$($(BIN)/python --version), and 3.11 to 3.13 is needed;" \
    "remove it (make distclean) and try again" >&2; exit 1; }
endef

# Stamps: packages are installed again only if one of the requirements has changed.
FOR_DEMO := $(VENV)/.installed-demo
FOR_USE := $(VENV)/.installed-user
FOR_TESTS := $(VENV)/.installed-test
FOR_DOCS := $(VENV)/.installed-docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# what uses each of the libraries once
SMOKE := @.ci/smoke.txt

.PHONY: help demo test test-slow test-lowest lint lock format docs bench notebooks venv clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(FOR_DEMO) ## segment the synthetic sample with the default model
	@$(BIN)/gmseg demo --overwrite

test: lint ## lint, then run all tests and examples except the slow ones
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --doctest-modules gmseg tests --ignore tests/test_notebooks.py
	@$(BIN)/python -m pytest -m "not slow" tests/test_notebooks.py # alone: their running time is checked

test-slow: $(FOR_TESTS) ## run the slow tests only
	@$(BIN)/python -m pytest -m slow

test-lowest: $(FOR_TESTS) ## run some tests with the lowest versions that pyproject.toml allows
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(LOWEST)
	@$(BIN)/uv pip install -q --python $(LOWEST) --resolution lowest-direct -e '.[test]'
	@$(LOWEST)/bin/python -m pytest -m "not slow" -n 2 --dist loadfile $(SMOKE)

lock: $(FOR_TESTS) ## write the newest versions that are allowed to .ci/requirements.txt
	@$(BIN)/uv pip compile -q --universal --upgrade --generate-hashes --no-annotate \
	  --python-version 3.11 --extra test --extra docs --custom-compile-command "make lock" \
	  pyproject.toml -o .ci/requirements.txt

lint: $(FOR_TESTS) ## check rules, format, layers of imports and types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m mypy

format: $(FOR_TESTS) ## fix what ruff can fix
	@$(BIN)/python -m ruff check --fix-only
	@$(BIN)/python -m ruff format

docs: $(FOR_DOCS) ## build the documentation site in site; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

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
	@rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -path "./$(VENV)*" -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	  -type d -exec rm -rf {} +

distclean: clean ## remove .venv as well
	@rm -rf $(VENV) $(LOWEST)

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

$(FOR_DEMO): pyproject.toml | $(BIN)/pip
	@$(CHECK)
	@echo "Installing gmseg into $(VENV) (without TensorFlow and Jupyter)"
	@$(PIP) install -q -e .
	@touch $@

$(FOR_USE): pip-requirements.txt pyproject.toml | $(BIN)/pip
	@$(CHECK)
	@echo "Installing gmseg and its requirements into $(VENV) (TensorFlow, Jupyter, ...: some minutes)"
	@$(or $(and $(LOCK),$(LOCKED)),$(PIP) install -q -r pip-requirements.txt)
	@touch $@

$(FOR_TESTS): $(FOR_USE)
	@echo "Installing the requirements of the tests into $(VENV)"
	@$(if $(LOCK),: they are in the lock,$(PIP) install -q -e '.[test]')
	@touch $@

$(FOR_DOCS): $(FOR_USE)
	@echo "Installing the requirements of the documentation into $(VENV)"
	@$(if $(LOCK),: they are in the lock,$(PIP) install -q -e '.[docs]')
	@touch $@
