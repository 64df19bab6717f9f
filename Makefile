IN := .venv/bin
PYTHON ?= python3

help: ## List the commands.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
.venv: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(IN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch .venv
demo: .venv ## Set up, then run the default experiment to its report.
	$(IN)/python -m experiments.run --config=configs/text/docs_model.py
test: .venv ## Set up, then all tests that are not marked slow or peer.
	$(IN)/python -m pytest -m "not slow and not peer" --doctest-modules
.PHONY: help demo test
