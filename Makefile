# make demo: the whole method on the embedded demo world.   make test: everything that must pass.
# make test-slow: checks of more than ten seconds each.      make test-all: both.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-all lint format benchmark clean

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

$(VENV)/.installed: pyproject.toml constraints.txt examples/plugin/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,crf]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e examples/plugin
	touch $@

clean:
	rm -rf $(VENV) runs
