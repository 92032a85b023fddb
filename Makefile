PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
PARTS := $(shell find calibration cli export runtime train -type d -not -name __pycache__ -not -name engines)

.PHONY: demo test test-slow test-gpu gpu check benchmark reliability clean

demo: $(DEMO)/installed
	$(DEMO)/bin/cartcls batch examples/slide-01 --out cartcls-reports

test: $(VENV)/installed
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-slow: $(VENV)/installed
	$(VENV)/bin/pytest -m slow

test-gpu: $(VENV)/installed
	$(VENV)/bin/pytest -m gpu

# Everything that needs a GPU, in 12 minutes, with what is installed. DATA: as for benchmark; to train on.
GPU_PYTHON := $(if $(wildcard $(VENV)/installed),$(VENV)/bin/python,$(PYTHON))
gpu:
	$(if $(DATA),$(GPU_PYTHON) benchmarks/gpu/pack.py $(DATA))
	$(GPU_PYTHON) benchmarks/gpu/run.py

check: $(VENV)/installed
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

# DATA: the class folders that splits/pbc.csv was made of. Nothing else may run meanwhile.
benchmark: $(VENV)/installed .venv-ultralytics/installed
	$(VENV)/bin/python benchmarks/cpu.py $(DATA)

# The whole scorecard of a watch, one line per row. As root, with strace and rsync, and nothing else running.
reliability: $(VENV)/installed
	$(VENV)/bin/python benchmarks/reliability/all.py $(DATA)

# Ultralytics is AGPL, so it stays in an environment of its own.
.venv-ultralytics/installed:
	$(PYTHON) -m venv .venv-ultralytics
	.venv-ultralytics/bin/python -m pip install --quiet ultralytics
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) .venv-ultralytics build *.egg-info

# A strict editable install links every file by itself (which pyright can follow), so a new file needs a new install.
# Dependency groups need pip 25.1.
$(VENV)/installed: pyproject.toml setup.py $(PARTS)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --config-settings editable_mode=strict --group dev -e '.[archive,train,export,review]'
	touch $@

$(DEMO)/installed: pyproject.toml setup.py $(wildcard $(addsuffix /*,$(PARTS)))
	test -d $(DEMO) || $(PYTHON) -m venv $(DEMO)
	rm -rf build/lib
	$(DEMO)/bin/python -m pip install --quiet --upgrade --force-reinstall --no-deps .
	$(DEMO)/bin/python -m pip install --quiet .
	touch $@
