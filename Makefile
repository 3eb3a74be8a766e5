# Every target does all of its own set-up: it needs Python 3.11 or newer and a network to PyPI.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-oldest lint types tests format docs docs-check gpu-wheels gpu-check clean

demo: .venv/installed
	$(BIN)/disinhib demo

# Lint and types beside the tests: those leave a core idle now and then.
test: .venv/installed
	$(MAKE) --jobs=3 lint types tests

# Everything, with the tests that take longer or need the extra `tfds`.
test-slow: .venv/installed-tfds lint types
	$(BIN)/pytest

# The tests with the oldest of each library that pyproject.toml admits, on the oldest Python.
test-oldest: .oldest-venv/installed
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .oldest-venv/bin/pytest -n 2 --dist worksteal -m "not slow"

OLDEST := import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
  bounds = [*project["dependencies"], *project["optional-dependencies"]["dev"]]; \
  print("\n".join(bounds).replace(">=", "=="))

.oldest-venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info[:2] == (3, 11) or sys.exit("Python 3.11 is the oldest: make PYTHON=...")'
	$(PYTHON) -m venv .oldest-venv
	$(PYTHON) -c '$(OLDEST)' > .oldest-venv/oldest.txt
	.oldest-venv/bin/python -m pip install --quiet --constraint .oldest-venv/oldest.txt --editable '.[dev]'
	@touch $@

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is %d.%d: make PYTHON=..." % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev,cuda-check]'
	@touch $@

.venv/installed-tfds: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,cuda-check,tfds]'
	@touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# On the package in the layout that it is installed in; that a wheel carries what makes its types
# known is proved in tests/test_package.py.
TYPED := build/typed/disinhib
types: .venv/installed
	mkdir -p $(TYPED)
	for folder in refimpl backends datasets validation experiments; do \
	  ln -sfn ../../../$$folder $(TYPED)/$$folder; done
	for file in __init__.py __init__.pyi __main__.py; do ln -sfn ../../../api/$$file $(TYPED)/$$file; done
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml \
	  --cache-dir ../../.mypy_cache --python-executable ../../$(BIN)/python -p disinhib

# Two workers with one thread each: BLAS threads of two workers would wait for each other. Who has
# nothing left takes over from the other. They start a hundred processes, each of which would compile
# every module once more if nothing were kept.
tests: .venv/installed
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# The site, in build/docs. All anew each time: Sphinx does not see that a docstring has changed.
docs: .docs-venv/installed
	.docs-venv/bin/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet \
	  --doctree-dir build/docs-trees docs build/docs
	@echo "build/docs/index.html"

# Its links and anchors; pictures in build/docs-pictures where Chromium is installed.
docs-check: docs
	.docs-venv/bin/python docs/check_site.py build/docs

.docs-venv/installed: pyproject.toml
	$(PYTHON) -m venv .docs-venv
	.docs-venv/bin/python -m pip install --quiet --upgrade pip
	.docs-venv/bin/python -m pip install --quiet --editable '.[docs]'
	@touch $@

# On a machine with a GPU, CuPy and PyTorch, offline or not: conformance, the tests marked gpu, the
# benchmarks, each with its own log, under build/gpu-check. Takes from wheels/ what the machine
# lacks.
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py

# Brings wheels for it along, on a machine with a network: for Python 3.12 on Linux.
REQUIRED := import tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
  print("\n".join([*project["build-system"]["requires"], *project["project"]["dependencies"]]))
gpu-wheels: .venv/installed
	mkdir -p wheels
	$(BIN)/python -c '$(REQUIRED)' > wheels/required.txt
	$(BIN)/python -m pip download --quiet --dest wheels --only-binary=:all: \
	  --python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
	  --platform manylinux2014_x86_64 --requirement wheels/required.txt pytest pytest-xdist hypothesis mpmath \
	  optuna

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .oldest-venv .docs-venv .gpu-venv wheels build *.egg-info .pytest_cache .mypy_cache .ruff_cache
