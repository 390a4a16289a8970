# `make demo` and `make test` need only Python 3.10 or newer: they make their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check
PLUGINS = $(wildcard plugins/*)

.PHONY: demo test e2e bench lint format clean

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[test]'
	touch $@

$(BIN)/.plugins: $(BIN)/.ready $(PLUGINS:=/pyproject.toml)
	$(PIP) --editable '.[test]' $(foreach plugin,$(PLUGINS),--editable '$(plugin)[test]')
	touch $@

demo: $(BIN)/.ready  ## the main job on screen, nothing else installed
	$(BIN)/amikafka demo

lint: $(BIN)/.plugins
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## lint, types, and all tests that need nothing but Python
	$(BIN)/pytest --numprocesses 4

e2e: $(BIN)/.plugins  ## the real Asterisk and the real Kafka: see tests/e2e/README.md
	$(BIN)/pytest tests/e2e

bench: $(BIN)/.ready  ## figures: see benchmarks/README.md
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/eventlog.py

format: $(BIN)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
