# `make help` lists what there is. Kept to what GNU make 3.81 and BSD tools know, which is what macOS has.
.NOTPARALLEL:
.PHONY: help install dev start test lint lock bench chaos rolling outages clean venv

# Which Python to make the environment with; the newest of those that the pinned packages are made for where unset.
PYTHON ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: venv .venv/.local ## make the environment in .venv

start: install ## start everything here: embedded Postgres and Redis, and all processes (Ctrl-C stops them)
	@PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONUNBUFFERED=1 exec $(BIN)/honcho start $(ARGS)

test: dev ## run all tests (ARGS="tests/unit -k name" for some)
	@$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

lint: dev ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## measure speed (prints figures; docs/performance.md says what they mean)
	@$(BIN)/python -m bench $(ARGS)

chaos: install ## measure what gets lost while processes are killed (nothing should)
	@$(BIN)/python -m bench.chaos $(ARGS)

rolling: install ## measure a rolling restart of everything under load (nothing should be noticed)
	@$(BIN)/python -m bench.rolling $(ARGS)

outages: install ## measure what Redis and Postgres being away comes to, under load
	@$(BIN)/python -m bench.outages $(ARGS)

lock: ## resolve the pinned dependencies anew (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	$(COMPILE) --extra otel --extra local --extra dev -o locks/dev.lock
	$(COMPILE) --extra otel --extra local -c locks/dev.lock -o locks/local.lock
	$(COMPILE) --extra otel -c locks/dev.lock -o locks/image.lock

clean: ## delete the environment and caches; databases (.heyfleet) and workspaces stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE = uv pip compile pyproject.toml --extra build --universal --generate-hashes --no-header \
	--python-version 3.11

dev: venv .venv/.dev

# An environment that works is kept, also one that was made in another way; one whose Python is gone is made anew.
venv:
	@recent='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if $(BIN)/python -c "import pip; $$recent" >/dev/null 2>&1; then exit 0; fi; \
	for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3) none; do \
		if "$$python" -c "$$recent" >/dev/null 2>&1; then break; fi; done; \
	if [ "$$python" = none ]; then \
		echo "heyfleet needs Python 3.11 or newer, and $(or $(PYTHON),python3) is not." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 install" >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		echo "$$python has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; fi; \
	echo "making .venv with $$("$$python" --version)"; "$$python" -m venv --clear .venv

.venv/.local: locks/local.lock pyproject.toml
	@echo "installing the pinned dependencies into .venv (a minute, the first time) …"
	@$(PIP) install --require-hashes --no-deps -r locks/local.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# Has all that the other has, in the same versions.
.venv/.dev: locks/dev.lock locks/local.lock pyproject.toml
	@echo "installing the pinned dependencies and development tools into .venv (a minute, the first time) …"
	@$(PIP) install --require-hashes --no-deps -r locks/dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch .venv/.local $@
