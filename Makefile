# Two commands on a fresh machine: `make demo` and `make test`. Everything goes into .venv and nowhere else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests

.PHONY: help demo test test-gateway check bench lock clean
.DEFAULT_GOAL := help

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.run-installed  ## install, then the main job on the embedded simulator: 45 seconds after it, no GPU needed
	$(BIN)/comfysoak run

test: $(VENV)/.dev-installed  ## install, then all tests
	$(BIN)/python -m pytest -n 2 $(TESTS)

test-gateway: $(VENV)/.dev-installed  ## tests against a real Open WebUI, installed into .cache/open-webui (0.8 GB; FOLDER=DIR: there)
	$(BIN)/python tests/gateway/open_webui.py $(if $(FOLDER),--folder $(FOLDER))

check: $(VENV)/.dev-installed  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=cli:locustfiles:probes:analysis:simulator:core $(BIN)/lint-imports

bench: $(VENV)/.dev-installed  ## every figure the documentation quotes, measured (ONLY=load for a part, FULL=1 for the long ones)
	$(BIN)/python -m benchmarks

lock: $(VENV)/.dev-installed  ## lock the newest versions that fit pyproject.toml, with hashes
	$(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install --quiet pip-tools hatchling
	for set in run dev; do \
	  .cache/lock/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --annotation-style=line \
	    pyproject.toml requirements/build.in $$([ $$set = dev ] && echo requirements/dev.in) \
	    -o requirements/$$set.txt || exit 1; \
	done

clean:  ## remove what make and tests made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ComfySoak needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name a newer one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-installed: $(VENV)/bin/python requirements/run.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.run-installed requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
