# Two commands do everything on a machine that has Python and make: `make demo` and `make test`.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed

.PHONY: demo test lint fuzz figures notebooks readme lock clean

demo: $(READY)
	$(RUN) -m studies.ablate_segments

test: $(READY)
	$(RUN) -m pytest -n 2 --dist worksteal

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Bounded, and not part of the tests: 500 mutated videos, each read rightly or refused in words.
fuzz: $(READY)
	$(RUN) -m tools.fuzz_videos

figures: $(READY)
	$(RUN) -m studies.figures

# Execute the notebooks again, and make the README's tables again.
notebooks: $(READY)
	$(VENV)/bin/jupytext --to ipynb --execute --set-kernel python3 notebooks/*.py

readme: $(READY)
	$(RUN) -m tools.readme

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) on this machine. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "redundancy needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

# After a change of the dependencies in pyproject.toml: what is installed in .venv becomes the lock.
lock: $(READY)
	$(RUN) -m pip list --format=freeze --exclude redundancy --exclude pip --exclude setuptools | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
