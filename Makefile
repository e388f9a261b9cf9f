# `make demo` and `make test` set up what they need; the second time they only run.
# PYTHON=python3.12 chooses the interpreter, VENV=folder the environment, PYTEST="-x -k name" adds to pytest's arguments.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST ?=

# The first interpreter of the accepted versions that can make an environment. Asked only when one has to be made.
ACCEPTED := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c "$(ACCEPTED)" >/dev/null 2>&1 && { echo $$name; break; }; done)

.PHONY: demo test lint bench-quick fuzz clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/frugan demo

# Both halves always run, and the tests' summary stands last; the exit code is an error if either failed.
test: $(VENV)/installed-for-tests
	@$(MAKE) --no-print-directory lint && linted=yes; \
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(PYTEST) && tested=yes; \
	[ "$$linted" ] || echo "make lint failed: see above."; [ "$$linted" ] && [ "$$tested" ]

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python

# Every benchmark's short form; each exits with an error when it misses its gate. (Studies, whose runs take hours, have none.)
bench-quick: $(VENV)/installed-for-tests
	@set -e; for program in $$(grep -lE '"--quick"|_report import .*arguments' benchmarks/[!_]*.py); do echo "== $$program"; $(BIN)/python $$program --quick; done

# Bad inputs and interruptions: 200 of each kind, some 40 minutes. FUZZ="words --count 50" chooses.
FUZZ ?=
fuzz: $(VENV)/installed-for-tests
	$(BIN)/python tests/faults.py $(FUZZ)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# Torch first, and alone: its build (CPU or GPU) is the one that your package index offers for the pinned version.
$(VENV)/installed: pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "frugan needs Python 3.11, 3.12 or 3.13 with venv and pip; none was found." \
		"Install one (on Debian or Ubuntu: python3 and python3-venv) or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c "$(ACCEPTED)" 2>/dev/null || { echo "PYTHON=$(PYTHON) is not Python 3.11, 3.12 or 3.13 with venv and pip."; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version): a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	$(PIP) --editable '.[data,test,export]'
	@touch $@
