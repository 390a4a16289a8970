# `make demo` and `make test` need only Python 3.10 or newer: they make their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check
SPEEDUPS = plugins/amikafka-speedups
PLUGINS = $(filter-out $(SPEEDUPS),$(wildcard plugins/*))

.PHONY: demo test docs e2e compatibility faults fuzz mutants sanitize bench deb apt-repo release lint format clean

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[test]'
	touch $@

$(BIN)/.plugins: $(BIN)/.ready $(BIN)/.speedups $(PLUGINS:=/pyproject.toml)
	$(PIP) --no-build-isolation --editable '.[test]' $(foreach plugin,$(PLUGINS),--editable '$(plugin)[test]')
	touch $@

# Python does the same alone, so a machine that cannot build this one does without.
$(BIN)/.speedups: $(BIN)/.ready $(wildcard $(SPEEDUPS)/*.py $(SPEEDUPS)/*.toml $(SPEEDUPS)/src/native/*)
	@mkdir -p build
	@$(PIP) --editable '$(SPEEDUPS)[test]' > build/speedups.log 2>&1 \
		|| echo "amikafka-speedups is left out: no C compiler, or no headers of Python (build/speedups.log has more; to try again: rm $@)"
	touch $@

demo: $(BIN)/.ready  ## the main job on screen, nothing else installed
	$(BIN)/amikafka demo

lint: $(BIN)/.plugins
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

test: lint  ## lint, types, and all tests that need nothing but Python
	$(BIN)/pytest --numprocesses 4 --dist worksteal

$(BIN)/.docs: $(BIN)/.plugins
	$(PIP) --editable '.[docs]'
	touch $@

docs: $(BIN)/.docs  ## docs/configuration.md anew, and the site, into build/site; a link to nowhere is an error
	$(BIN)/python docs/generate_reference.py
	$(BIN)/python docs/generate_compatibility.py --check
	$(BIN)/mkdocs build

e2e: $(BIN)/.plugins  ## the real Asterisk and the real Kafka: see tests/e2e/README.md
	$(BIN)/pytest -rfEs -o timeout_func_only=true --numprocesses 2 --dist loadfile tests/e2e

compatibility: $(BIN)/.plugins  ## docs/compatibility.md anew: every version of Asterisk that can be had
	AMIKAFKA_E2E_RECORD=yes $(BIN)/pytest -rfEs -o timeout_func_only=true tests/e2e/test_versions.py; \
		failed=$$?; $(BIN)/python docs/generate_compatibility.py && exit $$failed

SEED ?= 1
MINUTES ?= 10
faults: $(BIN)/.plugins  ## a campaign of faults: SEED=1 MINUTES=10 FAULTS="--exactly-once --only daemon-killed"
	PYTHONPATH=.:tests/e2e:tests/e2e/faults $(BIN)/python tests/e2e/faults/campaign.py \
		--seed $(SEED) --minutes $(MINUTES) $(FAULTS)

fuzz: $(BIN)/.plugins  ## the property tests with many more inputs each: INPUTS=20000
	AMIKAFKA_FUZZ_INPUTS=$(or $(INPUTS),20000) $(BIN)/pytest --numprocesses 4 --dist worksteal --timeout 7200 tests/property $(SPEEDUPS)

mutants: $(BIN)/.plugins  ## whether the tests of a module notice when it is wrong: MODULE=amikafka_tail/ami/framing.py
	$(BIN)/python tests/mutants.py $(MODULE)

sanitize: $(BIN)/.plugins  ## the tests of amikafka-speedups with AddressSanitizer and UndefinedBehaviorSanitizer
	$(SPEEDUPS)/sanitize $(BIN)/python

$(BIN)/.bench: $(BIN)/.plugins
	$(PIP) --editable '.[bench]'
	touch $@

bench: $(BIN)/.bench  ## figures, into docs/performance.md, on a quiet machine: BENCH="headline --quick"
	$(BIN)/python -m benchmarks $(BENCH)

deb:  ## the Debian packages, into dist/deb; needs their Build-Depends: packaging/debian/control
	packaging/build-deb dist/deb

apt-repo:  ## a signed repository of the packages in dist/deb, into dist/apt; needs apt-utils and gnupg
	packaging/make-apt-repo dist/apt dist/deb/*.deb

release: $(BIN)/.plugins  ## the version, the changelog's date, a commit, a tag and all packages, into dist/VERSION: VERSION=0.2.0 DRY_RUN=1
	$(BIN)/python packaging/release $(if $(DRY_RUN),--dry-run) -- '$(VERSION)'

format: $(BIN)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist $(SPEEDUPS)/build $(SPEEDUPS)/src/amikafka_speedups/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
