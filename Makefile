# `make demo` and `make test` are the whole set-up. `make check` is for between two edits, `make test-all` what CI runs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

# Slow tests take over a second; those of the other lanes need an emulator, buildah, an SSH server, Chromium,
# or minutes, before a release.
ELSEWHERE := board or container or sshd or browser or release
# As many tests at a time as there are cores; each worker takes whole files of tests, whose models are then made once.
PYTEST = $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

LIBRARY := hsiedge/native/libhsiedge.so
INSTALLED := $(VENV)/installed $(LIBRARY)

.PHONY: check quick demo test test-all test-targets lint types contracts fuzz kill study models docs pictures wheels release-check clean

$(VENV)/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "hsiedge needs Python 3.11 to 3.13 here: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) --constraint constraints.txt --editable '.[dev]'
	touch $@

$(LIBRARY): hsiedge/native/build.py $(wildcard hsiedge/native/src/*) | $(VENV)/installed
	$(BIN)/python -m hsiedge.native.build

demo: $(INSTALLED)
	$(BIN)/hsiedge demo --output demo

# Pictures of README.md; needs Chromium.
pictures: $(INSTALLED)
	$(BIN)/python -W ignore docs/screenshots.py

check: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync quick lint types contracts

quick: $(INSTALLED)
	$(PYTEST) -m 'not (slow or $(ELSEWHERE))' $(TESTS)

test: $(INSTALLED)
	$(PYTEST) -m 'not ($(ELSEWHERE))' $(TESTS)

test-targets: $(INSTALLED)
	HSIEDGE_TARGETS=1 $(PYTEST) tests/graphs/c/test_c_targets.py tests/arm/test_arm32.py

test-all: $(INSTALLED)
	$(PYTEST) --durations=40 -m 'not release' $(TESTS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint docker/*.Dockerfile

types: $(VENV)/installed
	$(BIN)/mypy

contracts: $(VENV)/installed
	$(BIN)/lint-imports
	@told=$$($(BIN)/python -m tests.device_wing 2>&1) || { echo "$$told"; exit 2; }

# N mutated files of every kind that is opened; the first of them are those of a smaller N.
fuzz: $(INSTALLED)
	$(BIN)/python -W ignore -m tests.fuzz $(or $(N),500) --seed $(or $(SEED),0)

# N kills at random moments of six commands that write.
kill: $(INSTALLED)
	$(BIN)/python -m tests.kill $(or $(N),20) --seed $(or $(SEED),0)

# The published study, part after part, into one folder; stopped at any moment, it goes on. Its store begins as the published one.
STUDY ?= study
study: $(INSTALLED)
	mkdir -p $(STUDY)
	test -f $(STUDY)/study.sqlite || cp benchmarks/results/study.sqlite $(STUDY)/study.sqlite
	for part in indian_pines salinas_a blocks enmap nets3d; do \
	  nice $(BIN)/hsiedge study benchmarks/study/$$part.toml -o $(STUDY) --workers 1 --measure no $(if $(DATA),--data-dir $(DATA)) || exit 2; \
	done
	cp $(STUDY)/study.sqlite benchmarks/results/study.sqlite
	$(BIN)/python benchmarks/pages.py

models: $(INSTALLED)
	$(BIN)/python models/make.py

# The site, offline, from docs/ into site/; a warning is an error. To read it, search included: python -m http.server -d site
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # with --quiet, warnings are not counted

# A wheel for each processor that the native engine is compiled for, and one without the native engine's library; pip chooses.
wheels: $(VENV)/installed
	for native in x86_64 aarch64 armv7l none; do HSIEDGE_NATIVE=$$native $(BIN)/pip wheel --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps --wheel-dir $(or $(DIST),dist) . || exit; done

# Before a release: sdist and wheels, each installed in a fresh environment and used, and pages that train for minutes.
release-check: $(INSTALLED)
	$(BIN)/python -m tests.arm.board
	$(BIN)/python -m pytest -m release -v -s $(TESTS)

clean:
	rm -rf $(VENV) demo site build dist $(LIBRARY)
