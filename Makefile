# Two commands matter: `make run` starts the daemon, `make test` passes every test. Both set up what they need.
SHELL   := /bin/bash
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
# The real registry and the real clients that the tests and benchmarks run against.
PARTS   := docker-registry skopeo containerd runc podman buildah nginx-light wrk curl openssl apache2-utils docker.io \
           chromium chromium-driver fonts-dejavu-core systemd haproxy prometheus shellcheck

.DEFAULT_GOAL := help
.PHONY: help setup parts run test check bench

help:
	@echo "make run    set up and start the daemon on 0.0.0.0:5000 (ARGS='-c FILE' for a configuration)"
	@echo "make test   set up, check and pass every test"
	@echo "make check  types, style, layering"
	@echo "make bench  the benchmarks of loadtests/, side by side with the peers"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("edgeproxy needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "python3-venv is missing: install it, or run this as root" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Debian's packages of the real parts; without root the tests that need an absent one are skipped and named.
parts:
	@missing=""; for part in $(PARTS); do dpkg -s $$part >/dev/null 2>&1 || missing="$$missing $$part"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	    command -v docker >/dev/null || apt-get install -y -qq --no-install-recommends docker-cli; \
	  else echo "absent, their tests are skipped:$$missing"; fi; \
	fi

run: setup
	exec $(BIN)/edgeproxy serve $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup parts check
	$(BIN)/python -m pytest $(ARGS)

bench: setup parts
	$(BIN)/python -m loadtests $(ARGS)
