# `make` lists the commands. All of them work in the virtual environment that is active; when none
# is, they make .venv here with $(PYTHON). What a command needs is installed the first time, and
# again when pyproject.toml or setup.cfg has changed.

PYTHON ?= python3
ARGS ?=

MIN_PYTHON := $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)
ENV := $(or $(VIRTUAL_ENV),.venv)
PY := "$(ENV)/bin/python"

# One process per core runs the tests: more threads than that only slow each other down, as they do in
# the many small fits of the examples. scikit-learn checks the array API only where SciPy knows of it,
# too.
ONE_THREAD := SCIPY_ARRAY_API=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 MPLBACKEND=Agg

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-extras test-engines dist-check lint doctest doc notebooks bench clean env

help:
	@echo "make demo      adapt to a new school from a few pupils: tables and pictures"
	@echo "make test      run the tests            (ARGS='-k tasks -x' is passed to pytest)"
	@echo "make test-extras  those of LightGBM, XGBoost, CatBoost, skrub, Optuna, ONNX, numba, mypy, notebooks"
	@echo "make test-engines  those of Spark, Fugue and Ray"
	@echo "make doctest   run the examples in docstrings, README.md and doc/"
	@echo "make dist-check   build wheel and sdist, and try the wheel in empty environments"
	@echo "make lint      check the code with ruff (ARGS=--fix repairs what it can)"
	@echo "make doc       build the documentation  (doc/_build/html/index.html)"
	@echo "make notebooks  execute the gallery as notebooks (ARGS='line meta': some of it)"
	@echo "make bench     measure against peers    (every benchmarks/bench_*.py)"
	@echo "make clean     remove all that these commands made, except .venv"

demo: env
	@$(MAKE) --no-print-directory install-demo || { \
	    echo "The demo's data cannot be installed: going on with matplotlib only and generated data."; \
	    $(MAKE) --no-print-directory install-plot; }
	$(PY) examples/plot_meta.py
	$(PY) examples/plot_new_school.py

test: install-test
	$(ONE_THREAD) $(PY) -m pytest -n auto $(ARGS)

# What needs other libraries, and is skipped where they are missing.
EXTRAS := third-party,onnx,fast,lint,notebooks

test-extras: install-test,$(EXTRAS) test-engines
	$(ONE_THREAD) $(PY) -m pytest -n auto tests/test_third_party.py tests/test_onnx.py \
	    tests/test_fast.py tests/typing tests/test_notebooks.py $(ARGS)

# In an environment of their own, since Fugue wants a pandas of its own.
ENGINES := $(ENV)/engines

test-engines: env
	$(MAKE) --no-print-directory VIRTUAL_ENV= ENV="$(ENGINES)" PYTHON=$(PY) install-engines
	$(ONE_THREAD) "$(ENGINES)/bin/python" -m pytest -n auto --dist loadfile tests/test_summaries.py::test_pyspark \
	    tests/test_summaries.py::test_fugue tests/test_distributed.py::test_ray_changes_nothing $(ARGS)

doctest: install-test
	$(ONE_THREAD) $(PY) -m pytest -n auto --doctest-modules --doctest-glob='*.md' --doctest-glob='*.rst' \
	    --ignore-glob='doc/*.py' --ignore=sklearn_meta/kernels/fast.py sklearn_meta README.md doc $(ARGS)

lint: install-lint
	$(PY) -m ruff check $(ARGS)

# Wheel and sdist, and the wheel alone in empty environments: with the newest versions of what it
# needs, and with the oldest that pyproject.toml allows.
DIST_CHECK := $(CURDIR)/build/dist-check
LOWEST := $(shell sed -n 's/^dependencies = \[\(.*\)\]/\1/p' pyproject.toml | sed 's/>=/==/g; s/[",]//g')

dist-check: install-dist
	rm -rf build dist
	$(PY) -m build --outdir dist
	$(PY) -m twine check --strict dist/*
	set -e; for versions in "" "$(LOWEST)"; do \
	    rm -rf $(DIST_CHECK); $(PY) -m venv $(DIST_CHECK); \
	    $(DIST_CHECK)/bin/python -m pip install --quiet dist/*.whl $$versions; \
	    cp tests/smoke.py $(DIST_CHECK); \
	    (cd $(DIST_CHECK) && bin/python smoke.py); \
	done

doc: install-doc
	rm -rf doc/generated
	$(ONE_THREAD) $(PY) -m sphinx -q -W --keep-going -j 2 -b html doc doc/_build/html $(ARGS)
	@echo "The documentation is in doc/_build/html/index.html"

# The gallery as its download links give it, in a kernel. `make doc` runs the same code.
notebooks: install-notebooks
	$(ONE_THREAD) $(PY) doc/notebooks.py $(ARGS)

bench: install-bench
	set -e; for script in benchmarks/bench_*.py; do $(PY) "$$script" $(ARGS); done

clean:
	rm -rf build dist *.egg-info doc/_build doc/auto_examples doc/generated doc/sg_execution_times.rst
	rm -rf demo_output examples/demo_output .pytest_cache .hypothesis .ruff_cache
	find sklearn_meta tests examples benchmarks doc -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, with pip in it. A venv half made is worse than none.
env:
	@if [ ! -x $(PY) ]; then \
	    if [ -n "$(VIRTUAL_ENV)" ]; then \
	        echo "The active virtual environment $(VIRTUAL_ENV) has no bin/python: deactivate it."; exit 1; \
	    fi; \
	    $(call require_python,"$(PYTHON)",name one that is: make PYTHON=/path/to/python$(MIN_PYTHON)); \
	    echo "Making $(ENV) with $$("$(PYTHON)" --version)"; \
	    "$(PYTHON)" -m venv $(ENV) || { rm -rf $(ENV); exit 1; }; \
	fi; \
	$(call require_python,$(PY),make that environment anew with a newer one); \
	$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --upgrade

# $(call require_python,COMMAND,ADVICE)
require_python = $(1) -c 'import sys; v = "$(MIN_PYTHON)"; \
    sys.exit(sys.version_info[:2] < tuple(map(int, v.split("."))))' 2>/dev/null || { \
    echo "Python $(MIN_PYTHON) or newer is needed, and" $(1) "is none:"; echo "$(2)"; exit 1; }

# `install-EXTRA,EXTRA`: this checkout, editable, with those of these extras of pyproject.toml that
# are missing. The environment keeps which it has, and the checkout and settings that they came from.
COMMA := ,
install-%: env
	@stamps="$(ENV)/.sklearn_meta"; key="$$(pwd) $$(cat pyproject.toml setup.cfg | cksum)"; \
	if [ "$$(cat "$$stamps/key" 2>/dev/null)" != "$$key" ]; then rm -rf "$$stamps"; fi; \
	missing=; for extra in $(subst $(COMMA), ,$*); do \
	    if [ ! -e "$$stamps/$$extra" ]; then missing="$${missing:+$$missing,}$$extra"; fi; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "Installing sklearn_meta[$$missing] in $(ENV)"; \
	    $(PY) -m pip install --quiet --editable ".[$$missing]" && mkdir -p "$$stamps" && \
	    echo "$$key" > "$$stamps/key" && \
	    for extra in $(subst $(COMMA), ,$*); do touch "$$stamps/$$extra"; done; \
	fi
