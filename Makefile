# Needs git, make and Python >= 3.11; everything else is installed into environments below this folder: .venv, and
# .venv-demo for the demo.
#
#   make demo         example DAGs in a real Airflow against the emulator; ONCE=1 ends after the runs
#   make format       format the code and sort its imports
#   make check        linters, types, import contracts and the quick tests, which need nothing: at each commit
#   make test         linters, types, import contracts, all tests, documentation
#   make lint / docs  the parts of it
#   make test-oldest  the tests of hook, operators and sensors with the oldest Airflow that is supported
#   make test-matrix  a smaller set of tests with each minor version of Airflow and each Python that this machine has
#   make dist         build and check the release files, install the wheel in a new environment and run DAGs with it
#   make clean        remove what these have made

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_VENV := .venv-demo
DEMO_READY := $(DEMO_VENV)/.ready
TRUSS_VENV := .venv-truss
TRUSS_READY := $(TRUSS_VENV)/.ready
TRUSS_REQUIREMENTS := tests/emulator/truth/requirements.txt

OLDEST_VENV := .venv-oldest
OLDEST_READY := $(OLDEST_VENV)/.ready
# What meets Airflow's own interfaces and differs between versions of Python, without what takes minutes.
SMOKE_TESTS := tests/client/test_transport.py tests/operators/test_deferred_predict.py \
	tests/operators/test_predict.py tests/test_database_connection.py tests/test_links.py tests/test_policies.py \
	tests/test_private_airflow.py
# Of the decorators, which share one base, the quickest.
OLDEST_TESTS := $(SMOKE_TESTS) tests/decorators/test_batch.py tests/decorators/test_chat.py tests/checks tests/hooks \
	tests/operators tests/sensors tests/signatures/test_signatures.py tests/test_ledger.py tests/test_logs.py \
	tests/test_odd_arguments.py tests/test_hidden_fields.py tests/test_rendering.py tests/test_results.py \
	tests/batch/test_damaged_files.py tests/triggers/test_result.py tests/lineage tests/pages/test_access.py \
	tests/pages/test_real_runs.py tests/management/test_deployment_operators.py tests/management/test_training_operator.py

# The quick tests are those without a marker. They run as a process for each of these lists of folders, and one for all
# others.
MARKERS := airflow or browser or cluster or llm or processes or slow or truth
QUICK_1 := tests/batch
QUICK_2 := tests/emulator tests/webhook
QUICK_3 := tests/openai tests/operators tests/sensors tests/triggers
# Tests that start whole Airflows and wait for them.
WAITING := tests/cluster tests/demo tests/faults tests/lineage tests/telemetry
QUICK := $(BIN)/python -m pytest -q -p no:cacheprovider -m "not ($(MARKERS))"

.PHONY: demo check quick-1 quick-2 quick-3 quick-4 test test-waiting test-others test-oldest test-matrix format lint docs dist clean
.DELETE_ON_ERROR:

demo: $(DEMO_READY)
	$(DEMO_VENV)/bin/python -m tools.demo $(if $(ONCE),--once)

check: $(READY)
	$(MAKE) -j5 --output-sync quick-1 quick-2 quick-3 quick-4 lint

quick-1 quick-2 quick-3: quick-%: $(READY)
	$(QUICK) $(QUICK_$*)

quick-4: $(READY)
	$(QUICK) $(foreach folder,$(QUICK_1) $(QUICK_2) $(QUICK_3),--ignore=$(folder))

test: lint $(TRUSS_READY)
	$(MAKE) -j2 test-waiting test-others
	$(MAKE) docs

# These tests wait most of the time, so the others run beside them. Their output comes in one piece.
test-waiting: $(READY)
	@output=$$(mktemp); trap 'cat $$output; rm -f $$output' EXIT; trap 'exit 130' INT TERM; \
		$(BIN)/python -m pytest -p no:cacheprovider $(WAITING) >$$output 2>&1

test-others: $(READY)
	$(BIN)/python -m pytest $(foreach folder,$(WAITING),--ignore=$(folder))

test-oldest: $(OLDEST_READY)
	$(OLDEST_VENV)/bin/python -m pytest -p no:cacheprovider $(OLDEST_TESTS)

test-matrix: $(READY)
	$(BIN)/python -m tools.matrix $(SMOKE_TESTS)

format: $(READY)
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy -p tools
	$(BIN)/lint-imports --no-logo --no-cache

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

dist: $(READY)
	$(BIN)/python -m tools.dist

clean:
	rm -rf $(VENV) $(DEMO_VENV) $(TRUSS_VENV) $(OLDEST_VENV) .venv-matrix .demo dist docs/_build .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml constraints.txt tools/make_venv.sh
	sh tools/make_venv.sh $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[common-ai,emulator,msgpack,openai,openlineage]' --group dev
	touch $@

$(DEMO_READY): pyproject.toml constraints.txt tools/make_venv.sh
	sh tools/make_venv.sh $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[emulator]' --group demo
	touch $@

# The server that Baseten runs models with, at its own versions; tests hold the emulator against it.
$(TRUSS_READY): $(TRUSS_REQUIREMENTS) tools/make_venv.sh
	sh tools/make_venv.sh $(TRUSS_VENV)
	$(TRUSS_VENV)/bin/python -m pip install --quiet --no-deps -r $(TRUSS_REQUIREMENTS)
	touch $@

$(OLDEST_READY): pyproject.toml constraints-3.1.txt tools/make_venv.sh
	sh tools/make_venv.sh $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet --no-deps -r constraints-3.1.txt -e .
	touch $@
