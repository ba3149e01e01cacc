# make run: the whole course, from nothing to pages.   make test: every check.   PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
PY := .venv/bin/python
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install sample run lab app student test course small tests lint test-long test-oldest notebooks

help:
	@echo "make run        install, draw the sample, run the four notebooks into pages under build/"
	@echo "make lab        open JupyterLab in the browser, to work with the notebooks"
	@echo "make app        the attention explorer alone, as a web page of this computer (CHECKPOINT=\"FOLDER ...\": of these)"
	@echo "make student    the student edition: notebooks with stubs in place of the solutions, under student/"
	@echo "make test       every check: ruff, pytest, the notebooks"
	@echo "make test-long  the tests of docs/RELIABILITY.md in full: more faults, kills and mutated files"
	@echo "make test-oldest  the tests with the oldest versions that requirements.txt admits (Python 3.11 or 3.12)"
	@echo "make notebooks  for maintainers: execute the notebooks in place"

install: $(INSTALLED)

$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The course needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": name another one, as in make run PYTHON=python3.12")'
	@echo "Installing into .venv (PyTorch is large: some minutes the first time)"
	@$(PYTHON) -m venv "$(or $(realpath .venv),.venv)"  # .venv may be a link to a folder
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

sample: $(INSTALLED)
	@echo "Drawing the sample dataset, if it is not there yet"
	@$(PY) -m scripts.sample "$${DATA:-data}/sample"

run: sample
	@echo "Running the notebooks, top to bottom (some minutes)"
	@$(PY) -m scripts.notebooks run

lab: sample
	$(PY) -m jupyter lab --ip=127.0.0.1

app: $(INSTALLED)
	@$(PY) -m scripts.app $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

student: $(INSTALLED)
	@$(PY) -m scripts.student

test: $(INSTALLED)  # two at a time, each on one core: the longest first, so that both cores end at about the same time
	@$(MAKE) --no-print-directory --jobs=2 --keep-going course tests small lint

course: $(INSTALLED)  # the four notebooks as they are
	$(PY) -m pytest -m notebooks --ignore=tests/test_small_courses.py -s

small: $(INSTALLED)  # and on small data
	$(PY) -m pytest tests/test_small_courses.py

tests: $(INSTALLED)
	$(PY) -m pytest -m "not notebooks"

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test-long: $(INSTALLED)
	LONG=1 $(PY) -m pytest -m "not notebooks"

test-oldest:
	@mkdir -p build
	@sed 's/>=/==/' requirements.txt > build/oldest.txt
	@test -d build/oldest || $(PYTHON) -m venv build/oldest
	@build/oldest/bin/python -m pip install --quiet --disable-pip-version-check -r build/oldest.txt
	build/oldest/bin/python -m pytest -m "not notebooks"

notebooks: sample
	@$(PY) -m scripts.notebooks update
