# make start   install into .venv, start echod on port 27978, echo a line through it
# make test    the whole suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ECHOD := $(BIN)/echod

.PHONY: start stop test soak lint coverage bench clean

start: $(BIN)/echod
	@$(ECHOD) start
	@echo "sent:     hello"
	@printf 'hello\n' | $(BIN)/python -c 'import socket, sys; \
	c = socket.create_connection(("localhost", 27978), 5); \
	c.sendall(sys.stdin.buffer.read()); c.shutdown(socket.SHUT_WR); \
	print("received:", "".join(iter(lambda: c.recv(4096).decode(), "")), end="")'
	@echo "echod serves on port 27978. Talk to it: nc localhost 27978; look at it: $(ECHOD) status; stop it: $(ECHOD) stop"

stop:
	@$(ECHOD) stop

# Not everybody has a Python that can make environments: Debian keeps that in a package of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "echod needs Python 3.11 or later; try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/echod: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	$(BIN)/python -m compileall -q src
	@touch $@

$(BIN)/pytest: $(BIN)/echod
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@

test: $(BIN)/pytest
	$(BIN)/pytest

# load of every kind, as root; prints a summary
MINUTES ?= 10
soak: $(BIN)/pytest
	PYTHONPATH=tests $(BIN)/python -m soak.soak --minutes $(MINUTES)

lint: $(BIN)/pytest
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@! command -v mandoc >/dev/null || mandoc -T lint -W warning man/*
	$(BIN)/mypy

# as make test, with the lines counted, those of the forked and executed processes too
coverage: export PYTHONPATH = $(CURDIR)/tests/cov
coverage: export COVERAGE_FILE = $(CURDIR)/.coverage-data/echod
coverage: $(BIN)/pytest
	rm -rf .coverage-data && mkdir -m 1777 .coverage-data
	$(BIN)/coverage run -m pytest -m 'not lean'
	-$(BIN)/coverage combine -q 2>/dev/null  # the files of processes that were killed are torn
	$(BIN)/coverage report --skip-covered

$(BIN)/.bench: $(BIN)/echod
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

bench: $(BIN)/.bench
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/clients.py

clean:
	rm -rf $(VENV) dist build .coverage* .coverage-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
