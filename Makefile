# What CI runs, and what a person runs: `make check` and `make test`, in a virtual environment of their own.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.test-installed

.PHONY: install check test
install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

check: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: install
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n logical --maxprocesses 4 --dist worksteal
