# gradscope: every target sets up what it needs; nothing has to be done by hand first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# BLAS threads only slow small matrices down, and make timings and test runs noisy.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: run test test-torch test-minimal lint format bench bench-compare docs docs-check fuzz verify clean help

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.run-ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@# pip does not compile what it installs editable; where PYTHONDONTWRITEBYTECODE is set, every start would.
	@$(BIN)/python -m compileall -q gradscope
	@touch $@

$(VENV)/.dev-ready: $(VENV)/.run-ready pyproject.toml tests/model-requirements.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/model-requirements.txt
	@touch $@

$(VENV)/.torch-ready: $(VENV)/.dev-ready
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-deps torchrecurrent==0.2.5
	@touch $@

run: $(VENV)/.run-ready  ## set up and print the article's ladder
	$(BIN)/gradscope gradients rnn skip forget-gate input-gate lstm

test: $(VENV)/.dev-ready  ## set up and pass the tests
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n 2 --dist loadfile tests gradscope

test-torch: $(VENV)/.torch-ready  ## the tests that hold gradscope against torch
	$(ONE_THREAD) $(BIN)/python -m pytest -q -m torch tests

.venv-minimal/.ready: pyproject.toml tests/minimal-requirements.txt
	$(PYTHON) -m venv .venv-minimal
	.venv-minimal/bin/python -m pip install --quiet --requirement tests/minimal-requirements.txt
	.venv-minimal/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

# What older libraries can break: the command line, every renderer, the readers' doors, the numerics, the claims.
# (Student's t of scipy 1.12 is itself only right to 2e-9, so that comparison is left out.)
test-minimal: .venv-minimal/.ready  ## the declared minimum versions run
	$(ONE_THREAD) .venv-minimal/bin/python -m pytest -q -n 2 --dist loadfile --override-ini filterwarnings=default \
	  tests/cli tests/reports tests/numerics tests/theory tests/claims/test_claims.py tests/sweeps/test_plan.py \
	  -k 'not test_student_quantile_against_scipy'

docs-check: $(VENV)/.dev-ready  ## generated pages and schemas are what --help and the field table say
	$(BIN)/python docs/make_reference.py --check

docs: $(VENV)/.dev-ready  ## write docs/commands.md, docs/fields.md and the JSON Schemas
	$(BIN)/python docs/make_reference.py

lint: $(VENV)/.dev-ready  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev-ready  ## time the workloads against references, answers verified first
	$(ONE_THREAD) $(BIN)/python -m benchmarks -o benchmarks/latest.json

bench-compare: $(VENV)/.dev-ready  ## make bench-compare BASE=old.json: fail on a regression beyond noise
	$(ONE_THREAD) $(BIN)/python -m benchmarks --base $(BASE)

fuzz: $(VENV)/.dev-ready  ## mutate and forge files of every kind for long; the record is in docs/security.md
	$(ONE_THREAD) $(BIN)/python tests/fuzz_files.py --files 10000
	$(ONE_THREAD) $(BIN)/python -m tests.forge --files 200

verify: $(VENV)/.dev-ready  ## hunt for exceeded bounds, contractions and early convergence for over an hour; the record is in docs/verification.md
	$(ONE_THREAD) $(BIN)/python tests/verify/hunt_bounds.py
	$(ONE_THREAD) $(BIN)/python tests/verify/hunt_contractions.py
	$(ONE_THREAD) $(BIN)/python tests/verify/short_runs.py

format: $(VENV)/.dev-ready  ## rewrite in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:           ## forget the virtual environment and caches
	rm -rf $(VENV) .venv-minimal build dist .pytest_cache .mypy_cache .ruff_cache
