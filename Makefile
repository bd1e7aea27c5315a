# `make demo`, `make test`, `make test-systems` and `make test-frameworks` need nothing but python3 (with pip and venv), git and make.
# Each keeps an environment of its own, pinned by hash in constraints/, and installs it once.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
JOBS ?= 2
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

TEST := .venv
DEMO := .venv-demo
BENCH := .venv-bench
SYSTEMS := .venv-systems
FRAMEWORKS := .venv-frameworks
LOCK := .venv-lock

LINTED := unitrack tests conftest.py docs examples $(wildcard benchmarks) $(wildcard plugins)
PIP := -m pip --disable-pip-version-check --no-input
COMPILE := $(LOCK)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.10 --generate-hashes --no-strip-extras \
	--no-header --no-annotate

# Our own packages, without their requirements: those are pinned already.
own = $(1)/bin/python $(PIP) install -qq --no-deps --no-build-isolation $(addprefix -e ./,. $(2))

.PHONY: help demo demo-ci test test-systems test-frameworks lint bench gate-bench gate-bench-real lock schemas docs clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO)/.ours ## Train on real data, then gate a good and a bad change (about two minutes)
	@PATH="$(CURDIR)/$(DEMO)/bin:$$PATH" $(DEMO)/bin/python examples/digits/demo.py

demo-ci: $(TEST)/.ours ## Let a good and a bad pull request face the action (needs podman or docker, and docker-registry)
	@PATH="$(CURDIR)/$(TEST)/bin:$$PATH" $(TEST)/bin/python examples/ci/demo.py

test: lint ## Check style, types and layers, then run every test
	@echo "==> Tests that need the machine to themselves"
	@$(TEST)/bin/pytest --quiet -m timing || [ $$? -eq 5 ] # 5: there is none
	@echo "==> All other tests"
	@$(TEST)/bin/pytest --quiet -m "not timing" --numprocesses $(JOBS) --dist loadfile

# Its folders are named by plugins/*/tests/systems and tests/systems, which `make test` passes by.
test-systems: $(SYSTEMS)/.ours ## Run DVC, Feast, Metaflow, MLflow Projects and Pachyderm's client for real (900 MB of packages)
	@$(SYSTEMS)/bin/pytest --quiet --numprocesses $(JOBS) --dist loadfile $(wildcard tests/systems plugins/*/tests/systems)

test-frameworks: $(FRAMEWORKS)/.ours ## Train with Lightning, Transformers, Accelerate, Keras, XGBoost and LightGBM for real (6 GB of packages)
	@$(FRAMEWORKS)/bin/pytest --quiet --numprocesses $(JOBS) --dist loadfile $(wildcard plugins/*/tests/frameworks)

lint: $(TEST)/.ours ## Check style, types and layers
	@echo "==> Style"
	@$(TEST)/bin/ruff check --quiet $(LINTED)
	@$(TEST)/bin/ruff format --quiet --check $(LINTED)
	@echo "==> Types"
	@$(TEST)/bin/mypy --no-error-summary
	@for source in $(wildcard $(addsuffix /src,$(PLUGINS))); do $(TEST)/bin/mypy --no-error-summary $$source || exit; done
	@echo "==> Layers"
	@said=$$($(TEST)/bin/lint-imports --no-logo) || { echo "$$said"; exit 1; }

bench: $(BENCH)/.ours ## Measure unitrack and its peers side by side
	@$(BENCH)/bin/python benchmarks/run.py $(ARGUMENTS)

gate-bench: $(TEST)/.ours ## Simulate the gate's error rates, and judge the same trainings by the rules of today
	@$(TEST)/bin/python benchmarks/gate/compare.py $(ARGUMENTS)
	@$(TEST)/bin/python benchmarks/gate/simulate.py $(ARGUMENTS)

gate-bench-real: $(TEST)/.ours ## Gate harmless changes and faults of real trainings; writes docs/gate-real.md
	@$(TEST)/bin/python benchmarks/gate/real.py --output docs/gate-real.md $(ARGUMENTS)

lock: $(LOCK)/.ready ## Pin what pyproject.toml asks for, for Python 3.10 and later, into constraints/
	$(COMPILE) --group test --extra gate --extra query --extra pandas --extra arrow -o constraints/test.txt
	$(COMPILE) --group demo --extra gate --extra query -c constraints/test.txt -o constraints/demo.txt
	$(COMPILE) --group bench -o constraints/bench.txt
	$(COMPILE) --group systems -o constraints/systems.txt
	$(COMPILE) --group frameworks -o constraints/frameworks.txt
	$(COMPILE) --group build --extra gate -c constraints/test.txt -o constraints/action.txt

schemas: $(TEST)/.ours ## Make the schemas from the types
	@$(TEST)/bin/python -m unitrack.schemas

docs: $(TEST)/.ours ## Make docs/commands.md from the commands' help
	@$(TEST)/bin/python docs/make_reference.py
	@$(TEST)/bin/python docs/make_compat.py

clean: ## Remove the environments and what tools left behind
	rm -rf $(TEST) $(DEMO) $(BENCH) $(SYSTEMS) $(FRAMEWORKS) $(LOCK) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache \
		.hypothesis

# An environment is new when its constraint file changes, our packages when a pyproject.toml does.
$(TEST)/.packages: constraints/test.txt
$(DEMO)/.packages: constraints/demo.txt
$(BENCH)/.packages: constraints/bench.txt
$(SYSTEMS)/.packages: constraints/systems.txt
$(FRAMEWORKS)/.packages: constraints/frameworks.txt

%/.packages:
	@echo "==> Installing into $* (once; a minute or two)"
	@$(PYTHON) -m venv $*
	@$*/bin/python $(PIP) install -qq --require-hashes -r $<
	@touch $@

$(TEST)/.ours: $(TEST)/.packages pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
	@$(call own,$(TEST),$(PLUGINS))
	@touch $@

$(DEMO)/.ours: $(DEMO)/.packages pyproject.toml
	@$(call own,$(DEMO))
	@touch $@

$(BENCH)/.ours: $(BENCH)/.packages pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
	@$(call own,$(BENCH),$(PLUGINS))
	@touch $@

$(SYSTEMS)/.ours: $(SYSTEMS)/.packages pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
	@$(call own,$(SYSTEMS),$(PLUGINS))
	@touch $@

$(FRAMEWORKS)/.ours: $(FRAMEWORKS)/.packages pyproject.toml plugins/unitrack-frameworks/pyproject.toml
	@$(call own,$(FRAMEWORKS),plugins/unitrack-frameworks)
	@touch $@

$(LOCK)/.ready:
	@$(PYTHON) -m venv $(LOCK)
	@$(LOCK)/bin/python $(PIP) install --quiet uv
	@touch $@
