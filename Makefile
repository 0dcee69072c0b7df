# Every target does its own set-up: a machine needs python3, make and a package index.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test check unit bench changelog hooks base-image clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Install everything the lock file names into .venv
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## Promote a build under live terminals, then a bad one; ENGINE=docker: on six hosts
	@$(BIN)/python -m demo $(if $(ENGINE),--engine $(ENGINE))

lab: setup ## Real hosts to deploy to, as containers (python -m lab down takes them away)
	@$(BIN)/python -m lab up

check: setup ## Lint, types, import contracts, subjects of commits
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/ansible-lint --offline --profile production playbooks
	$(PYTHON) scripts/check-commits.py

unit: setup ## The quick tests only
	$(BIN)/pytest tests/unit

test: check ## Everything that has to pass
	scripts/test-requirements.sh
	scripts/test.sh

bench: setup ## The benchmarks
	$(BIN)/python -m benchmarks.help_speed
	$(BIN)/python -m benchmarks.terminal
	$(BIN)/python -m benchmarks.headline
	$(BIN)/python -m benchmarks.storm
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.gates

changelog: setup ## CHANGELOG.md from changelog.d/; DATE=2026-12-01 releases the version
	@$(BIN)/python scripts/changelog.py $(DATE)

hooks: ## Let git check the message of each commit that is made here
	git config core.hooksPath scripts/hooks

base-image: setup ## A base image for the services, where no registry is reached
	@$(BIN)/python -m scripts.base_image

clean: ## Remove what set-up and tests have made
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
