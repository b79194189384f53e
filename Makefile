# Works with make 3.81 and the BSD tools of macOS, and with GNU make on Linux.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ALFWORLD := $(VENV)/.alfworld
EXTRAS := agent,api,dev
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# The first Python from 3.11 to 3.13 that can make virtual environments: the one you use, else the newest.
# Choose another with `make install PYTHON=/path/to/python`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	if $$python -c 'import ensurepip, sys, venv; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' \
		>/dev/null 2>&1; then echo $$python; break; fi; done)

# Torch comes from where pip's own settings say; on Linux that is as a rule a build with CUDA, several gigabytes. A
# machine without an NVIDIA GPU does with the CPU build: `make install TORCH_INDEX=https://...`, with the address of the
# CPU index that PyTorch's install page names. It is searched beside pip's own.
TORCH_INDEX ?=

.PHONY: help install quickstart tiny-agents test chromium lint format clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*  ## ' Makefile | sed -E 's/^([a-z-]+):.*  ## (.*)$$/  make \1	\2/' | expand -t 20

install: $(STAMP)  ## Make .venv with the package and all that training and tests need

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "No Python from 3.11 to 3.13 with the modules venv and ensurepip was found." >&2; \
		echo "Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13)," >&2; \
		echo "or name one: make install PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { echo "Making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
	$(PIP_INSTALL) torch==2.13.0 $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP_INSTALL) -e '.[$(EXTRAS)]'
	@touch $(STAMP)

# ALFWorld's planner is compiled on the spot, which takes minutes and a C++ compiler. Its tests are skipped without it.
$(ALFWORLD): $(STAMP)
	$(PIP_INSTALL) -e '.[alfworld]' || \
		echo "ALFWorld's engine could not be installed (is there a C++ compiler?): its tests will be skipped" >&2
	@touch $(ALFWORLD)

quickstart: $(STAMP)  ## Train, evaluate and rank a tiny agent on this machine's CPU (less than 10 minutes)
	$(BIN)/gtr-bench quickstart

tiny-agents: $(ALFWORLD)  ## Make the packaged tiny agents anew (most of an hour on two cores)
	$(BIN)/python benchmarks/tiny_agents.py

# The tests of a file stay in one process, so that what they share is made once. Files keep the order of their names:
# the trainer's, which take longest, are begun first.
test: lint $(ALFWORLD) chromium  ## Lint, then the whole test suite, offline (a few minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

# Pages are tested in a browser. It is installed where that needs no asking; where it is missing, those tests are skipped.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "Installing Chromium" && \
			{ apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } \
			>/dev/null 2>&1; } || \
		echo "Chromium is not installed: the tests that open pages in a browser will be skipped" >&2

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
