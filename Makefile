# Sitbone: what a person types. `make` alone lists the targets.
#   PYTHON  the interpreter that .venv is made with (3.11 or newer)
#   PORT    the port of `make run`
PYTHON ?= python3
PORT ?= 8080
BENCH_SECONDS ?= 200
# A git worktree of the commit that `make sameness` compares with.
BESIDE ?= ../main

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK = .venv-lock/bin/pip-compile --quiet --generate-hashes --strip-extras --no-header --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --all-build-deps --extra postgresql \
	$(LOCK_OPTIONS) pyproject.toml
# For trying populations on Spark; PySpark runs no function on Arrow without pandas.
SPARK := build/spark
SPARK_PACKAGES := pyspark==4.3.0 pandas==2.3.3
TRY := fixtures/requests/sudden-pop-with-bruising.json

PORTABLE ?=

.PHONY: help run test types tests prove calm mutate bench sameness portable sbom spark lock format clean check-python
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## start the service on 127.0.0.1, PORT=8080
	@SITBONE_PORT=$(PORT) exec $(BIN)/sitbone serve --try $(TRY)

# The tests start hundreds of processes: images of Python often forbid to keep what is compiled, and each would do it again.
test: $(VENV)/test.stamp ## check style, types and imports, and run all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory --jobs 2 types tests

# mypy is one process, and would leave the other processors with nothing to do: the tests begin beside it.
types:
	$(BIN)/mypy

tests:
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --no-loadscope-reorder

prove: $(VENV)/test.stamp ## decide the safety properties of the knowledge about all charts (the tests do it too)
	$(BIN)/sitbone knowledge prove

calm: $(VENV)/test.stamp ## count the ordinary patients that are alarmed, SITBONE_SHARED=FOLDER of whole charts
	$(BIN)/python -m tests.calm

# With ONLY one room or module: make mutate ONLY='service.reasoning.differential*'
mutate: $(VENV)/test.stamp ## break the reasoning line by line and see whether its tests notice, ONLY=MODULE
	$(PIP_INSTALL) --no-build-isolation --editable '.[mutate]'
	$(BIN)/mutmut run $(if $(ONLY),"$(ONLY)")
	$(BIN)/mutmut results

bench: $(VENV)/run.stamp ## measure the service beside a bare Flask + orjson app, BENCH_SECONDS=200
	$(BIN)/python -m bench --seconds $(BENCH_SECONDS)

sameness: $(VENV)/test.stamp ## compare the decisions with those of another checkout, BESIDE=FOLDER
	$(BIN)/python -m sameness --beside $(BESIDE)

# With PORTABLE="--engine javascript --generated 100" a part of it.
portable: $(VENV)/test.stamp ## compare the decisions of two CQL engines by the exported knowledge, needs node, npm, java, mvn
	$(BIN)/python -m tests.portable $(PORTABLE)

sbom: $(VENV)/test.stamp ## write what the wheel and the image are made of, as CycloneDX, to build/sbom
	$(BIN)/python deploy/sbom.py build/sbom

spark: $(SPARK)/spark.stamp ## install Spark, half a gigabyte, for the test that runs on it

format: $(VENV)/test.stamp ## put the code into its one format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pins stay as they are where they can; `make lock LOCK_OPTIONS=--upgrade` renews them all.
lock: check-python ## write both lock files from pyproject.toml
	@test -x .venv-lock/bin/pip-compile || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet pip-tools; }
	$(LOCK) --output-file requirements.lock
	$(LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## remove everything that make and the tools have made
	rm -rf $(VENV) .venv-lock build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		mutants \
		tests/ehr/node_modules tests/portable/node_modules tests/portable/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: name a Python of 3.11 or newer, as in make PYTHON=python3.12 run" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Sitbone needs Python 3.11 or newer and $(PYTHON) is %d.%d: name another, as in make PYTHON=python3.12 run" % sys.version_info[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments, its venv or ensurepip module is missing: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

# Made anew when the lock changes, so that nothing stays that the lock no longer names.
$(VENV)/run.stamp: requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory check-python
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp requirements-dev.lock
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

# Beside what the tests have, which it finds in their environment.
$(SPARK)/spark.stamp: $(VENV)/test.stamp
	$(PYTHON) -m venv --clear $(SPARK)
	$(SPARK)/bin/python -m pip install --quiet --disable-pip-version-check $(SPARK_PACKAGES)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(SPARK)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sitbone.pth"
	@touch $@
