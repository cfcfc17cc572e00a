PYTHON ?= python3
VENV := .venv
TESTS :=
PIPFLAGS :=
BIN := $(VENV)/bin
ECHOD := $(BIN)/echod
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIPFLAGS) --editable

MINUTES ?= 10

.PHONY: help start stop test test-all test-minimal test-sdist campaign soak inject lint deb completions coverage bench cost clean FORCE
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=python3.12, TESTS='tests/system -k reload'"

start: $(BIN)/echod ## install into .venv, start echod on port 27978, echo a line through it
	@$(ECHOD) start
	@echo "sent:     hello"
	@printf 'hello\n' | $(BIN)/python -c 'import socket, sys; \
	c = socket.create_connection(("localhost", 27978), 5); \
	c.sendall(sys.stdin.buffer.read()); c.shutdown(socket.SHUT_WR); \
	print("received:", "".join(iter(lambda: c.recv(4096).decode(), "")), end="")'
	@echo "echod serves on port 27978. Talk to it: nc localhost 27978; look at it: $(ECHOD) status; stop it: make stop"
	@$(ECHOD) check | sed -n -e 's/^log *= *\([^ ]*\).*/Its log: \1/p' | sed 's/syslog/& (journalctl -t echod, or \/var\/log\/syslog)/'

stop: $(BIN)/echod ## stop what make start has started, also after make clean
	@$(ECHOD) stop

# Each time: it may be of another place or Python. What is built in it is made anew only if this changes it.
$(BIN)/python: FORCE
	@.ci/environment "$(VENV)" $(if $(filter file,$(origin PYTHON)),,"$(PYTHON)")
FORCE:

$(BIN)/echod: $(BIN)/python pyproject.toml
	$(INSTALL) .
	$(BIN)/python -m compileall -q src
	@touch $@

$(BIN)/pytest: $(BIN)/echod
	$(INSTALL) '.[test]'
	@touch $@

$(BIN)/ruff: $(BIN)/echod
	$(INSTALL) '.[lint]'
	@touch $@

test: $(BIN)/pytest ## run the whole suite (or TESTS=...)
	$(BIN)/python -m pytest $(TESTS)

test-all: ## run the system tests on each Python from 3.11 on that the machine has (but EXCEPT="3.11 ...")
	@.ci/test-all $(EXCEPT)

test-minimal: ## run a few tests with the oldest dependencies that pyproject.toml allows
	@mkdir -p build
	@sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)",/\1==\2/p' pyproject.toml >build/minimal
	@$(MAKE) --no-print-directory test VENV=.venv-minimal PIPFLAGS='--constraint build/minimal' \
	    TESTS='$(or $(TESTS),tests/unit/cli tests/system/test_start.py tests/system/test_stop.py tests/system/test_reload.py -k "not debug")'

# What is released must hold what its tests need; and a path may have a blank in it.
test-sdist: $(BIN)/pytest ## run the unit tests and a few others from the sdist, in a path with a blank
	rm -rf dist
	$(BIN)/python -m build --sdist --outdir dist >/dev/null
	directory=$$(mktemp -d '/tmp/echod sdist.XXXXXX') && chmod 755 "$$directory" && trap 'rm -rf "$$directory"' EXIT && \
	tar -xf dist/*.tar.gz -C "$$directory" --strip-components=1 && \
	$(MAKE) --no-print-directory -C "$$directory" test TESTS='$(or $(TESTS),tests/unit tests/test_layout.py tests/system/test_start.py)'

campaign: $(BIN)/pytest ## run the long searches for faults, as root, four minutes: networks, failing calls, any order of events
	$(BIN)/python -m pytest -m campaign $(TESTS)

soak: $(BIN)/pytest ## load of every kind for MINUTES=10, as root; prints a summary
	PYTHONPATH=tests $(BIN)/python -m soak.soak --minutes $(MINUTES)

lint: $(BIN)/pytest $(BIN)/ruff ## ruff, mandoc, mypy; the tests run shellcheck
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	@! command -v mandoc >/dev/null || mandoc -T lint -W warning man/*
	$(BIN)/python -m mypy

# a quarter of an hour, as root; a sample of it is among the tests
inject: $(BIN)/pytest ## fail and delay each system call of the daemon in turn, and write docs/injection.md
	$(BIN)/python tests/campaign/inject.py --report docs/injection.md
	$(BIN)/python tests/campaign/delays.py --rounds 20

# built in a copy, for a build leaves files in debian/; with Debian's Python, whatever else there is in PATH
deb: BUILD := build/deb
deb: DIST := dist
deb: ## build the Debian package into dist/; it needs dpkg-dev and the Build-Depends of debian/control
	rm -rf "$(BUILD)"
	mkdir -p "$(BUILD)/echod" "$(DIST)"
	tar -c --exclude=__pycache__ completions debian docs etc man src systemd pyproject.toml *.md LICENSE | tar -xC "$(BUILD)/echod"
	cd "$(BUILD)/echod" && { PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage --unsigned-source --unsigned-changes \
	    --build=binary >../log 2>&1 || { tail -30 ../log >&2; exit 1; }; }
	mv "$(BUILD)"/*.deb "$(BUILD)"/*.changes "$(BUILD)"/*.buildinfo "$(DIST)"

completions: $(BIN)/pytest ## write the completions of bash, zsh and fish anew, after a change to commands, options or settings
	$(BIN)/python completions/generate.py

coverage: export PYTHONPATH = $(CURDIR)/tests/cov
coverage: export COVERAGE_FILE = $(CURDIR)/.coverage-data/echod
coverage: $(BIN)/pytest ## make test with the lines counted, those of forked and executed processes too
	rm -rf .coverage-data && mkdir -m 1777 .coverage-data
	$(BIN)/python -m coverage run -m pytest -m 'not lean and not campaign'
	-$(BIN)/python -m coverage combine -q 2>/dev/null  # the files of processes that were killed are torn
	$(BIN)/python -m coverage report --skip-covered

$(BIN)/.bench: $(BIN)/echod
	$(INSTALL) '.[bench]'
	@touch $@

bench: $(BIN)/.bench ## measure echod and its peers, a quarter of an hour; writes RESULTS.md, picture, README
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/clients.py

cost: $(BIN)/echod ## print what a connection costs, and what each trick for it saves, two minutes; WRITE=1: docs/performance.md
	$(BIN)/python benchmarks/cost.py $(if $(WRITE),--write)

clean: ## remove all that make has made
	rm -rf .venv .venv-* dist build .coverage* .coverage-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
