# make demo   install into .venv and run the main job on an embedded checkpoint
# make test   install what the tests need and run them, on a newer interpreter too where there is one

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-lowest coverage lint types bench clean

demo: $(VENV)/.installed
	$(BIN)/jaxlin svd --model demo-qwen --prompt-file models/jaxlin_models/demo/prompt.txt -k 4 --out results/demo --overwrite
	$(BIN)/jaxlin report results/demo --overwrite

# Most tests compile more than they compute, so their machine code may be as it comes; the demos compute.
QUICK := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1

# JAX 0.10, the last for Python 3.11, compiles faster without fusion emitters; later ones have no such flag.
test: $(VENV)/.installed-test
	XLA_FLAGS="$(QUICK) --xla_cpu_use_fusion_emitters=false" $(BIN)/python -m pytest -n auto -m "not demos"
	$(BIN)/python -m pytest -n auto -m demos
	XLA_FLAGS="$(QUICK)" scripts/test_newer.sh

# The suite at the oldest versions that pyproject.toml admits (Python 3.11, no torch), which warn of each other.
test-lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --editable ".[test]" --constraint tests/lowest.txt
	XLA_FLAGS="$(QUICK) --xla_cpu_use_fusion_emitters=false" \
		.venv-lowest/bin/python -m pytest -n auto -m "not demos" -W ignore::DeprecationWarning

# The suite once, with the lines of our packages that no test runs.
coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --cov=jaxlin --cov=jaxlin_models --cov-report=term-missing:skip-covered

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/passes.py --json benchmarks/passes.json

clean:
	rm -rf $(VENV) .venv-newer .venv-lowest results

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jaxlin needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# torch first and pinned, so that nothing else pulls in another build of it.
$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable ".[test,torch,lint]"
	touch $@ $(VENV)/.installed
