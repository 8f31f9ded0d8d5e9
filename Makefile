# Each target sets itself up: a virtual environment in .venv with what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# TORCH=cpu installs torch without CUDA, which is small; it comes from an index of its own.
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
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
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi

docs: $(VENV)/.docs ## the documentation, in site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.test ## how fast: JSON with ratios
	$(BIN)/python bench/run.py

gpu: $(VENV)/.installed ## correctness and speed on a GPU, in under 8 minutes; the table is out/gpu/gpu.md
	$(BIN)/python bench/gpu.py

clean:
	rm -rf $(VENV) site dist

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "Expected Python, but there is no $(PYTHON). Name one: make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" install/check.py "$(VENV)" "$(TORCH)"
	"$(PYTHON)" -m venv "$(VENV)"

$(VENV)/.installed: $(BIN)/python pyproject.toml
	@$(BIN)/python install/check.py "$(VENV)" "$(TORCH)"
	$(if $(filter cpu,$(TORCH)),$(BIN)/python install/cpu_torch.py "$(TORCH_INDEX)")
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@
