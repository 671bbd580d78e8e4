# Every target does its own set-up on a machine with Python 3.11+, make and git.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := $(CURDIR)
# Short spins at thread barriers: a browser beside the training costs little (see executor.py).
export GOMP_SPINCOUNT ?= 5000

.PHONY: setup app test chaos lint bench screenshots

setup: $(VENV)/.done

# uv where there is one (faster), pip otherwise; again only when the requirements change.
$(VENV)/.done: requirements.txt requirements-dicom.txt requirements-nifti.txt requirements-dev.txt
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python '>=3.11' $(VENV) && \
		uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt; \
	else \
		$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one with PYTHON=…" if sys.version_info < (3, 11) else 0)' && \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt; \
	fi
	@touch $@

app: setup
	$(BIN)/python -m streamlit run app.py --server.port=$(PORT)

# A thread and a process a core, where nothing is drawn; then a browser, its server and a worker.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore tests/browser \
		--numprocesses logical --maxprocesses 4
	$(BIN)/python -m pytest tests/browser

# The long one: kills at random moments, seeded and bounded; servers need a browser to be killed under.
chaos: setup
	REBALANCE_BROWSER=required $(BIN)/python -m pytest -m chaos -rP

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	@for file in benchmarks/[!_]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

screenshots: setup
	$(BIN)/python -m tests.browser.screenshots
