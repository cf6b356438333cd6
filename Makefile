# Each target builds the virtual environment it needs by itself: python >= 3.11 and a package
# registry are all that has to be there.
PYTHON ?= python3
VENV ?= .venv
PARITY_VENV ?= .venv-parity
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
PARITY_STAMP := $(PARITY_VENV)/installed.stamp
# Waiting threads sleep: with as many processes as cores, spinning ones cost several times the work.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint parity parity-env clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python >= 3.11 is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/restore demo --out demo

test: $(STAMP)
	$(BIN)/python -m pytest -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The reference implementations pin old companions, so they get an environment of their own that
# looks into the first one for everything else.
$(PARITY_STAMP): $(STAMP)
	$(PYTHON) -m venv $(PARITY_VENV)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' \
	    > "$$($(PARITY_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/first.pth"
	$(PARITY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'basicsr==1.4.2' 'realesrgan==0.3.0'
	touch $@

parity-env: $(PARITY_STAMP)

parity: $(PARITY_STAMP)
	PYTHONPATH=. $(PARITY_VENV)/bin/python -m pytest -q tests/test_parity.py

clean:
	rm -rf $(VENV) $(PARITY_VENV) build dist demo
