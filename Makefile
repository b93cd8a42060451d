# The two commands: `make demo` and `make test`. Each makes its own virtual environment.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# More than the cores: much of a test waits for servers.
JOBS ?= 3
ROUNDS ?= 50

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint types contracts unit test-compiled bench docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/run ## start a real database behind the gateway and take the tour (ARGS="--no-tour", ...)
	@exec $(BIN)/sallyport demo $(ARGS)

test: $(VENV)/dev debian lint types contracts unit ## everything that must pass, under 10 minutes on two cores

test-long: $(VENV)/dev debian ## hours of fuzzing and soak (ROUNDS=50 of new examples, then the long tests)
	for round in $$(seq $(ROUNDS)); do \
		HYPOTHESIS_PROFILE=new $(BIN)/python -m pytest -q -n $(JOBS) tests/fuzz tests/contract || exit 1; done
	HYPOTHESIS_PROFILE=new $(BIN)/python -m pytest -m long --timeout 14400 $(ARGS)
	for other in /usr/lib/postgresql/*/bin; do test -d $$other || continue; \
		POSTGRES_BINARIES=$$other $(BIN)/python -m pytest -q -n $(JOBS) tests/masking/test_two_worlds.py || exit 1; done

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev
	$(BIN)/mypy

contracts: $(VENV)/dev
	$(BIN)/lint-imports

unit: $(VENV)/dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-compiled: $(VENV)/dev debian ## the tests again, on modules compiled by mypyc (needs a C compiler)
	$(BIN)/python tools/compile_sources.py build/compiled
	PYTHONPATH=$(CURDIR)/build/compiled $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -o pythonpath="build/compiled ." $(ARGS)

bench: $(VENV)/dev debian ## measure against direct and pgbouncer; ratios of one run
	$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/dev ## write the generated pages anew
	$(BIN)/python tools/write_docs.py

lock: $(VENV)/dev ## pin every dependency anew, with hashes
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements-dev.txt

.PHONY: debian
debian:
	@sh tools/install_debian_packages.sh

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11, 3.12 or 3.13 is needed (name it: make PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: $(VENV)/bin/python requirements.txt pyproject.toml
	@echo "installing what is needed into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e examples/line-plugin
	@touch $@

clean: ## remove what was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-state
