# What CI runs, and what a person runs: `make check` and `make test`, in a virtual environment of their own.
# While working: `make test-fast`, which leaves out the tests marked slow and takes less than two minutes.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
INSTALLED := $(VENV)/.test-installed
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n $(WORKERS) --dist worksteal

.PHONY: install check test test-fast
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
	$(PYTEST)

test-fast: install
	$(PYTEST) -m "not slow"
