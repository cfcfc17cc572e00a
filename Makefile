PYTHON ?= python3
VENV := .venv
TESTS :=
PIPFLAGS ?=
BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt

MINUTES ?= 10
# Tests wait most of the time, so more of them run at once than there are processors. A few named tests start faster alone.
JOBS ?= $(if $(TESTS),0,6)
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS)

.PHONY: help start stop test test-all test-minimal test-sdist campaign soak inject lint pins deb completions coverage bench cost metadata release clean FORCE
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=python3.12, TESTS='tests/system -k reload', JOBS=6"

start: $(BIN)/echod ## install into .venv, start echod on port 27978, echo a line through it
	@.ci/start "$(VENV)"

stop: ## stop what make start has started, also after make clean; installs nothing
	@.ci/stop "$(VENV)"

# Each time, for no file's time says whether an environment still serves: .ci/environment looks, and mostly does nothing.
$(BIN)/echod: WHAT := echod
$(BIN)/pytest: WHAT := test
$(BIN)/ruff: WHAT := lint
$(BIN)/.bench: WHAT := bench
$(BIN)/echod $(BIN)/pytest $(BIN)/ruff $(BIN)/.bench: FORCE
	@CONSTRAINTS="$(CONSTRAINTS)" PIPFLAGS="$(PIPFLAGS)" \
	    .ci/environment "$(VENV)" "$(if $(filter file,$(origin PYTHON)),,$(PYTHON))" $(WHAT)
FORCE:
# Two pips in one environment would be in each other's way.
.NOTPARALLEL:

test: $(BIN)/pytest ## run the whole suite (or TESTS=...), JOBS=6 tests at once
	$(PYTEST) $(TESTS)

test-all: ## run the system tests on each Python from 3.11 on that the machine has (but EXCEPT="3.11 ...")
	@.ci/test-all $(EXCEPT)

test-minimal: ## run a few tests with the oldest dependencies that pyproject.toml allows
	@mkdir -p build
	@sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)",/\1==\2/p' pyproject.toml >build/oldest
	@awk -F == '!named[$$1]++' build/oldest $(CONSTRAINTS) >build/minimal  # pip refuses two versions of one package
	@$(MAKE) --no-print-directory test VENV=.venv-minimal CONSTRAINTS=build/minimal \
	    TESTS='$(or $(TESTS),tests/unit/cli tests/system/test_start.py tests/system/test_stop.py tests/system/test_reload.py -k "not debug")'

# What is released must hold what its tests need; and a path may have a blank in it.
test-sdist: $(BIN)/pytest ## run the unit tests and a few others from the sdist, in a path with a blank
	rm -rf dist
	$(BIN)/python -m build --no-isolation --sdist --outdir dist >/dev/null
	directory=$$(mktemp -d '/tmp/echod sdist.XXXXXX') && chmod 755 "$$directory" && trap 'rm -rf "$$directory"' EXIT && \
	tar -xf dist/*.tar.gz -C "$$directory" --strip-components=1 && \
	$(MAKE) --no-print-directory -C "$$directory" test TESTS='$(or $(TESTS),tests/unit tests/test_layout.py tests/system/test_start.py)'

campaign: $(BIN)/pytest ## run the long searches for faults, as root, eight minutes: networks, failing calls, other machines
	$(PYTEST) -m campaign $(TESTS)

soak: $(BIN)/pytest ## load of every kind for MINUTES=10, as root; prints a summary
	PYTHONPATH=tests $(BIN)/python -m soak.soak --minutes $(MINUTES)

lint: $(BIN)/pytest $(BIN)/ruff ## ruff, mandoc, mypy; the tests run shellcheck
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	@! command -v mandoc >/dev/null || mandoc -T lint -W warning man/*
	$(BIN)/python -m mypy

# The last two are what python-daemon 2.3.0, which test-minimal installs, needs besides.
pins: $(BIN)/pytest ## write .ci/constraints.txt: the newest versions of all that these targets install
	printf 'docutils\nsetuptools\n' | $(BIN)/uv pip compile --quiet --upgrade --all-extras --python-version 3.11 \
	    --python-platform linux --no-annotate --custom-compile-command 'make pins' --output-file $(CONSTRAINTS) pyproject.toml -

# a quarter of an hour, as root; a sample of it is among the tests
inject: $(BIN)/pytest ## fail and delay each system call of the daemon in turn, and write build/injection.md
	@mkdir -p build
	$(BIN)/python tests/campaign/inject.py --report build/injection.md
	$(BIN)/python tests/campaign/delays.py --rounds 20

# built in a copy, for a build leaves files in debian/; with Debian's Python, whatever else there is in PATH
deb: BUILD := build/deb
deb: DIST := dist
deb: ## build the Debian package into dist/; it needs dpkg-dev and the Build-Depends of debian/control
	rm -rf "$(BUILD)"
	mkdir -p "$(BUILD)/echod" "$(DIST)"
	tar -c --exclude=__pycache__ completions debian docs etc man src systemd pyproject.toml *.md LICENSE | tar -xC "$(BUILD)/echod"
	sed -i "s|echod@echod.invalid|$$(sed -n 's/^authors.*email = "\(.*\)".*/\1/p' pyproject.toml)|; \
	    s|https://echod.invalid|$$(sed -n 's/^Homepage = "\(.*\)"/\1/p' pyproject.toml)|" "$(BUILD)"/echod/debian/c*
	cd "$(BUILD)/echod" && { PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage --unsigned-source --unsigned-changes \
	    --build=binary >../log 2>&1 || { tail -30 ../log >&2; exit 1; }; }
	mv "$(BUILD)"/*.deb "$(BUILD)"/*.changes "$(BUILD)"/*.buildinfo "$(DIST)"

metadata: VENV := .venv-release
metadata: ## judge what is released: metadata, wheel, sdist, licences, the Kubernetes objects; no output is a pass
	@CONSTRAINTS=/dev/null PIPFLAGS="$(PIPFLAGS)" .ci/environment "$(VENV)" "$(if $(filter file,$(origin PYTHON)),,$(PYTHON))" release
	@rm -rf build/metadata && mkdir -p build/metadata
	@{ $(VENV)/bin/python -m build --no-isolation --outdir build/metadata && \
	    $(VENV)/bin/pyroma --min=10 . && \
	    $(VENV)/bin/check-wheel-contents build/metadata/*.whl && \
	    $(VENV)/bin/twine check --strict build/metadata/* && \
	    $(VENV)/bin/validate-pyproject pyproject.toml && \
	    $(VENV)/bin/reuse lint && \
	    $(VENV)/bin/kubernetes-validate --strict etc/kubernetes.yaml; } >build/metadata.log 2>&1 || { cat build/metadata.log >&2; exit 1; }

release: metadata ## make sdist, wheel, package, SBOM and checksums in dist/, twice the same, and try each; root
	@.ci/release $(CURDIR)/.venv-release/bin/python

completions: $(BIN)/pytest ## write the completions of bash, zsh and fish anew, after a change to commands, options or settings
	$(BIN)/python completions/generate.py

coverage: export PYTHONPATH = $(CURDIR)/tests/cov
coverage: export COVERAGE_FILE = $(CURDIR)/.coverage-data/echod
coverage: $(BIN)/pytest ## make test with the lines counted, those of forked and executed processes too
	rm -rf .coverage-data && mkdir -m 1777 .coverage-data
	$(BIN)/python -m coverage run -m pytest -m 'not lean and not campaign'
	-$(BIN)/python -m coverage combine -q 2>/dev/null  # the files of processes that were killed are torn
	$(BIN)/python -m coverage report --skip-covered

bench: $(BIN)/.bench ## measure echod and its peers, a quarter of an hour; writes RESULTS.md, picture, README
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/clients.py

cost: $(BIN)/echod ## print what a connection costs, and what each trick for it saves, two minutes; WRITE=1: docs/performance.md
	$(BIN)/python benchmarks/cost.py $(if $(WRITE),--write)

# A daemon without its environment could not be stopped, reloaded or upgraded.
clean: ## remove all that make has made, but .venv while echod runs from it
	@if .ci/stop --runs; then echo "echod runs: .venv is kept; make stop, then make clean"; else rm -rf .venv; fi
	rm -rf .venv-* dist build .coverage* .coverage-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
