# Two commands do everything on a machine that has Python and make: `make demo` and `make test`.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed
PYTEST := $(RUN) -m pytest -n 2 --dist worksteal
UNCHECKED := -o addopts="-ra --strict-markers --strict-config" # types are not checked as functions are called

unexport PYTHONDONTWRITEBYTECODE # compiled tests and modules are read again by every process that tests start

.PHONY: demo test test-fast test-oldest test-newest lint format fuzz figures notebooks readme packages lock clean

demo: $(READY)
	$(RUN) -m studies.ablate_segments

test: $(READY)
	$(PYTEST)

# While one works: what needs no model of every family, trains nothing and starts no long run; few examples of each
# property.
test-fast: $(READY)
	$(PYTEST) -m "not models and not training and not slow" --hypothesis-profile=fast $(UNCHECKED)

# The oldest transformers that is supported, and the newest there is, over the same environment: all that reaches into it.
test-oldest: TRANSFORMERS := transformers==5.17.0 "huggingface_hub<2"
test-newest: TRANSFORMERS := transformers huggingface_hub
test-oldest test-newest: $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/$@ $(TRANSFORMERS)
	PYTHONPATH="$(abspath $(VENV))/$@" $(PYTEST) $(UNCHECKED) tests/models tests/recording tests/apply

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Bounded, and not part of the tests: 500 mutated videos, each read rightly or refused in words.
fuzz: $(READY)
	$(RUN) -m tools.fuzz_videos

figures: $(READY)
	$(RUN) -m studies.figures

# Execute the notebooks again; make the README's tables and the page of every study again, from what is stored of it.
notebooks: $(READY)
	$(VENV)/bin/jupytext --to ipynb --execute --set-kernel python3 notebooks/*.py

readme: $(READY)
	$(RUN) -m tools.readme
	$(RUN) -m tools.pages

# The two wheels, in dist: code, and bundled models and clips.
packages: $(READY)
	$(RUN) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist . ./data

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) on this machine. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "redundancy needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --no-compile --disable-pip-version-check -r requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

# After a change of the dependencies in pyproject.toml: what is installed in .venv becomes the lock.
lock: $(READY)
	$(RUN) -m pip list --format=freeze --exclude redundancy --exclude pip --exclude setuptools | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
