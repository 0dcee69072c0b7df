# Every target does its own set-up: a machine needs python3, make and a package index.
PYTHON ?= python3
BIN := .venv/bin
BEGAN := $(shell date +%s)
TOOK = echo "make $@: $$(($$(date +%s) - $(BEGAN))) s, installation included"

# Hundreds of processes are started: each would compile again all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test test-all check check-commits check-python check-ansible check-page unit web-client bench changelog hooks base-image clean programs

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Install everything the lock file names into .venv
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## Promote a build under live terminals, then a bad one; ENGINE=docker or swarm: on six hosts
	@$(BIN)/python -m demo $(if $(ENGINE),--engine $(ENGINE))

lab: setup ## Real hosts to deploy to, as containers (python -m lab down takes them away)
	@$(BIN)/python -m lab up

check: check-commits check-python check-ansible check-page ## Lint, types, import contracts, subjects of commits

check-commits:
	$(PYTHON) scripts/check-commits.py

check-python: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check-ansible: setup
	ANSIBLE_COLLECTIONS_PATH=playbooks $(BIN)/ansible-lint --offline --profile production playbooks

check-page: setup
	scripts/web-client.sh check

programs: setup
	@scripts/test-requirements.sh $(TIER)
	@$(BIN)/python -m tests.support.images
	@$(BIN)/python -m tests.support.provider

unit: setup ## The quick tests only
	$(BIN)/pytest -n auto tests/unit

test: ## What each change needs to pass
	@$(MAKE) --jobs 3 --output-sync=target programs check
	scripts/test.sh first
	@$(TOOK)

test-all: ## Everything there is: six hosts, storms, long fault campaigns too
	@$(MAKE) TIER=all --jobs 3 --output-sync=target programs check
	scripts/test.sh all
	@$(TOOK)

web-client: setup ## Build the page that the services ship from its source, services/web-client
	@scripts/web-client.sh build

bench: setup ## The benchmarks
	$(BIN)/python -m benchmarks.help_speed
	$(BIN)/python -m benchmarks.looking_speed
	$(BIN)/python -m benchmarks.terminal
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.headline
	$(BIN)/python -m benchmarks.storm
	$(BIN)/python -m benchmarks.capacity
	$(BIN)/python -m benchmarks.cluster
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.gates

changelog: setup ## CHANGELOG.md from changelog.d/; DATE=2026-12-01 releases the version
	@$(BIN)/python scripts/changelog.py $(DATE)

hooks: ## Let git check the message of each commit that is made here
	git config core.hooksPath scripts/hooks

base-image: setup ## A base image for the services, where no registry is reached
	@$(BIN)/python -m scripts.base_image

clean: ## Remove what set-up and tests have made
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache services/web-client/node_modules
