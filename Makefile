# Each target sets itself up: a virtual environment in .venv with what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export MPLBACKEND := Agg

.PHONY: demo test lint docs bench gpu clean

demo: $(VENV)/.installed ## synthetic slides, a small DINOv2 trained on them, and its score on a page
	$(BIN)/eva demo

test: export OMP_NUM_THREADS := 1
test: $(VENV)/.test ## the test suite, a process on each core
	$(BIN)/pytest -n auto --dist loadfile

lint: $(VENV)/.lint ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.docs ## the documentation, in site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.test ## how fast: JSON with ratios
	$(BIN)/python bench/run.py

gpu: $(VENV)/.installed ## correctness and speed on a GPU, in under 8 minutes; the table is out/gpu/gpu.md
	$(BIN)/python bench/gpu.py

clean:
	rm -rf $(VENV) site dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@
