# Every target does its own set-up: a machine needs python3, make and a package index.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check unit bench clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## Install everything the lock file names into .venv
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## Promote a build under live terminals, then a bad one, and see it taken back
	@$(BIN)/python -m demo

check: setup ## Lint, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/ansible-lint --offline --profile production playbooks

unit: setup ## The quick tests only
	$(BIN)/pytest tests/unit

test: check ## Everything that has to pass
	scripts/test-requirements.sh
	$(BIN)/pytest

bench: setup ## The benchmarks
	$(BIN)/python -m benchmarks.help_speed
	$(BIN)/python -m benchmarks.terminal
	$(BIN)/python -m benchmarks.storm

clean: ## Remove what set-up and tests have made
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
