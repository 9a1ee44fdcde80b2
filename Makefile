# Everything sets itself up in .venv; needed are Python 3.11 or newer, pip and make.
#   make demo URL=redis://localhost:6379/9      a server of your own instead of the embedded one
#   make test URL=redis://localhost:6379/9      (the tests empty it!)
PYTHON ?= python3
VENV   ?= .venv
URL    ?=
ARGS   ?=

BIN := $(VENV)/bin
# `python3 -m venv` alone needs a package that Debian does not install, hence --without-pip and the pip that is there.
INSTALL := $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(PYTHON) -m pip --python $(BIN)/python install)
PYTEST := $(if $(URL),TRELLIS_TEST_REDIS_URL=$(URL)) $(BIN)/python -m pytest

.PHONY: help demo test check lint faults mutation audit chaos bench docs clean
.DEFAULT_GOAL := help

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.demo  ## Watch lost tasks being rescued (a quarter of a minute, leaves nothing behind)
	@$(BIN)/python -m example_project.demo $(URL)

test: $(VENV)/.test  ## Run all tests this machine can run
ifeq ($(URL)$(ARGS),)
	$(BIN)/python -m tests
else
	$(PYTEST) $(ARGS)
endif

check: lint test  ## Run all that must pass before a commit

lint: $(VENV)/.dev  ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

faults: $(VENV)/.test  ## Provoke every fault of the catalogue, and write down how it went
	$(PYTEST) -n 2 --dist loadfile --faults tests
	$(BIN)/python -m tests.faults.page

mutation: $(VENV)/.test  ## Take each guard away, and see some test go red (takes long)
	$(BIN)/python -m tests.mutation
	$(BIN)/python -m tests.faults.page

audit: $(VENV)/.test  ## Ask for known holes in what is installed; needs a network
	@$(BIN)/python -m pip_audit --version >/dev/null 2>&1 || $(INSTALL) --quiet pip-audit
	$(BIN)/python -m pip_audit --skip-editable

chaos: $(VENV)/.test  ## Break everything for MINUTES=10, by SEED=…, with BROKER=redis or rabbitmq
	$(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(BROKER),--broker $(BROKER)) $(if $(JSON),--json $(JSON))

bench: $(VENV)/.bench  ## Measure what it costs, in about ten minutes, and write it down
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.test  ## Run every program in README and docs
	$(PYTEST) tests/docs $(ARGS)

clean:  ## Remove whatever make has made
	rm -rf $(VENV) build dist .*_cache .hypothesis .coverage

# A stamp for each extra of pyproject.toml.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(INSTALL) --quiet --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	$(PYTHON) -m venv --without-pip $(VENV)
