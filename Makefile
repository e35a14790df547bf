# Every target makes its own environment in .venv when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo docs test test-slow check bench gpu clean links

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("impasto needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# A stylised clip with its sound, in demo/clip.mp4: a few minutes on two cores.
demo: $(READY)
	$(BIN)/impasto stylize samples/clip.mp4 --style samples/style.png --output demo/clip.mp4 \
		--size 192 --iterations 150,30

# The same files under the names that they are installed by, for mypy, import-linter and editors.
links: $(READY)
	@rm -rf links && mkdir -p links/impasto
	@cd links/impasto && ln -s ../../pipeline/* ../../cli ../../configs .

# Every module, in some minutes on two cores; IMPASTO_TEST_SEED=random draws other random numbers than the usual ones.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

# The sweeps: every crash point, every kind of damage, whole jobs in many settings.
test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m slow

check: $(READY) links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=links $(BIN)/lint-imports

# The pages of docs/ that follow from the code.
docs: links
	PYTHONPATH=links $(BIN)/python docs/generate.py

# All the tables of docs/benchmarks.md; hours on a slow machine, so name one: make bench ONLY=peer
bench: $(READY)
	$(BIN)/python -m tests.benchmarks $(ONLY)

# What needs a GPU, for whoever has one for a quarter of an hour: its tests, and the table of its speed.
gpu: $(READY)
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m tests.benchmarks speed

clean:
	rm -rf demo build links *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
