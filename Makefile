# make demo: the whole method on the embedded demo world.   make test: everything that must pass.
# make test-slow: checks of more than ten seconds each.      make test-all: both.
# make docs: the documentation as a site, in docs/_build/html.      make dist: wheel and sdist, in dist.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-all lint format benchmark docs notebooks dist coverage clean

demo: $(VENV)/.installed
	$(BIN)/semples demo --out runs/demo

test: $(VENV)/.installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

test-slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m slow

test-all: test test-slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed.py

docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/python scripts/check_links.py docs/_build/html

notebooks: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python scripts/run_notebooks.py --check

dist: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m build

# The floor: what a whole run had (93.5 %), less some room.
coverage: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pytest-cov
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" --cov --cov-fail-under=90

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt examples/plugin/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,crf]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e examples/plugin
	touch $@

clean:
	rm -rf $(VENV) runs dist docs/_build
