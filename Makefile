# Works with make 3.81 and the BSD tools of macOS, and with GNU make on Linux.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := agent,dev

# The first Python from 3.11 to 3.13 that can make virtual environments: the one you use, else the newest.
# Choose another with `make install PYTHON=/path/to/python`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	if $$python -c 'import ensurepip, sys, venv; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' \
		>/dev/null 2>&1; then echo $$python; break; fi; done)

# Where torch comes from. On Linux the package index serves a CUDA build of several gigabytes; a machine without an
# NVIDIA driver takes the CPU build from PyTorch's own index instead, where that can be reached.
# `make install TORCH_INDEX=` keeps to pip's own settings, `make install TORCH_INDEX=https://...` names another index.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
TORCH_INDEX ?= auto

.PHONY: help install quickstart test lint format clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*  ## ' Makefile | sed -E 's/^([a-z-]+):.*  ## (.*)$$/  make \1	\2/' | expand -t 20

install: $(STAMP)  ## Make .venv with the package and all that training and tests need

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "No Python from 3.11 to 3.13 with the modules venv and ensurepip was found." >&2; \
		echo "Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13)," >&2; \
		echo "or name one: make install PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { echo "Making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
	@index="$(TORCH_INDEX)"; \
	if [ "$$index" = auto ]; then \
		index=; \
		if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1 && $(BIN)/python -c \
			'import urllib.request; urllib.request.urlopen("$(TORCH_CPU_INDEX)/torch/", timeout=5)' 2>/dev/null; \
		then index=$(TORCH_CPU_INDEX); fi; \
	fi; \
	set -x; $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt torch==2.13.0 \
		$${index:+--extra-index-url $$index}
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $(STAMP)

quickstart: $(STAMP)  ## Train, evaluate and rank a tiny agent on this machine's CPU (about 10 minutes)
	$(BIN)/gtr-bench quickstart

test: lint  ## Lint, then the whole test suite, offline (a few minutes)
	$(BIN)/python -m pytest -n 2 --durations=10

lint: $(STAMP)  ## Style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Mend what the linter can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove .venv and caches; runs/ and results/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
