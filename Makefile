# `make train` and `make test` work on a bare machine with Python 3.11 or later: they create .venv themselves. Another
# Python has an environment of its own: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1

TEST_OPTIONS := --numprocesses auto --dist loadfile
PYTEST := $(BIN)/pytest $(TEST_OPTIONS)

.PHONY: train test docs figures test-lowest test-newest test-long test-pages release-check lint types mutants fuzz kill pretrain bench bench-turbo bench-learning bench-equal-terms bench-serving test-gpu bench-gpu clean

train: $(VENV)/installed
	$(BIN)/mixgrpo train scenes

test: $(VENV)/tools lint types
	$(PYTEST)

lint: $(VENV)/tools
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: $(VENV)/tools
	$(BIN)/mypy

# Every test with the lowest versions that pyproject.toml allows.
test-lowest: .venv-lowest/tools
	.venv-lowest/bin/pytest $(TEST_OPTIONS)

# Every test with the newest versions there are, of today: `rm -r .venv-newest` for those of tomorrow.
test-newest: .venv-newest/tools
	.venv-newest/bin/pytest $(TEST_OPTIONS)

# What `make test` leaves out. Takes two minutes on 2 cores.
test-long: $(VENV)/tools
	$(PYTEST) -m long

# What only a GPU can show; skipped where there is none. Takes two minutes.
test-gpu: $(VENV)/tools
	$(BIN)/pytest tests/gpu

# Puts small faults into the files of the method, one at a time: do the tests notice? Takes 15 minutes on 2 cores.
mutants: $(VENV)/tools
	$(BIN)/python tests/mutants/try_faults.py

# Whatever stands in recipes, overrides and files of prompts. Takes five minutes on 2 cores.
fuzz: $(VENV)/tools
	MIXGRPO_FUZZ_EXAMPLES=3000 $(PYTEST) tests/fuzz

# Runs that are killed at thirty moments and resumed, fifty endings of two processes, Ctrl-C in every phase. Takes 40
# minutes on 2 cores.
kill: $(VENV)/installed
	$(BIN)/python tests/faults/kills.py docs/results/kills.json
	$(BIN)/python tests/faults/endings.py docs/results/endings.json
	$(BIN)/python tests/faults/interrupts.py docs/results/ctrl-c.json

# Pages in a real browser. Needs chromium: apt-get install chromium
test-pages: $(VENV)/tools
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[pages]'
	$(BIN)/pytest tests/pages

# Wheel and sdist: built, described as the package index wants it, installed without constraints into an empty
# environment, where the tiny model trains.
release-check:
	rm -rf dist .venv-release
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet build twine "$$(grep ^torch== constraints.txt)"
	.venv-release/bin/python -m build
	.venv-release/bin/twine check --strict dist/*
	.venv-release/bin/pip install --quiet dist/*.whl
	.venv-release/bin/pip check
	cd "$$(mktemp -d)" && $(CURDIR)/.venv-release/bin/mixgrpo train scenes iterations=2 rollout.prompts=2 evaluation.prompts=2

# The documentation, into site/: readable from disk.
docs: $(VENV)/tools
	$(BIN)/mkdocs build --strict

# The figures of the concepts, from the real code.
figures: $(VENV)/tools
	$(BIN)/python docs/figures.py

# The tiny model from nothing, then its accuracy, samples and loss curve. Takes 35 minutes on 2 cores.
pretrain: $(VENV)/tools
	$(BIN)/python -m mixgrpo.pretraining.pretrain src/mixgrpo/tiny/model
	$(BIN)/python -m mixgrpo.pretraining.report src/mixgrpo/tiny/model

# What an iteration of each algorithm costs, in bfloat16. Takes 15 minutes on 2 cores and a C++ compiler.
bench: $(VENV)/tools
	$(BIN)/mixgrpo bench --dtype bfloat16 --compile --json docs/results/cost.json --png docs/images/cost.png

# What makes turbo fast, and how cost grows. Takes 15 minutes on 2 cores and a C++ compiler.
bench-turbo: $(VENV)/tools
	$(BIN)/mixgrpo bench --dtype bfloat16 --levers --repetitions 1 --json docs/results/levers.json
	$(BIN)/mixgrpo bench --dtype bfloat16 --one-by-one --prompts 1 --repetitions 1 --json docs/results/one-by-one.json
	$(BIN)/mixgrpo bench --dtype bfloat16 --suffix --prompts 12 --repetitions 1 --json docs/results/suffix.json --png docs/images/suffix.png
	$(BIN)/mixgrpo bench --dtype bfloat16 --growth --json docs/results/growth.json --png docs/images/growth.png

# What each objective learns in five minutes on three seeds, at the best of four settings of its own. Takes six hours on 2
# cores, and goes on where it was interrupted.
bench-learning: $(VENV)/tools
	$(BIN)/mixgrpo bench --learning --journal runs/learning.jsonl --json docs/results/objectives.json --png docs/images/objectives.png

# What algorithms learn at one rate for all: turbo and DanceGRPO in four minutes on 25 steps, three seeds; the published
# ones and two recipes of ours in three minutes on the grid of `scenes`. Takes 70 minutes on 2 cores.
bench-equal-terms: $(VENV)/tools
	$(BIN)/mixgrpo bench --dtype bfloat16 --equal-terms --learning-rate 4e-4 --only turbo --minutes 4 --repetitions 3 --json docs/results/learning.json --png docs/images/learning.png
	$(BIN)/mixgrpo bench --equal-terms --own-grid --learning-rate 4e-4 --only flowgrpo --only mixgrpo --only mixgrpo-flash --recipe scenes --recipe scenes-flash --minutes 3 --repetitions 1 --json docs/results/algorithms.json

# A reward over HTTP: throughput, and what happens when servers fail.
bench-serving: $(VENV)/tools
	$(BIN)/mixgrpo bench --serving --repetitions 5 --json docs/results/serving.json
	$(BIN)/mixgrpo bench --faults --json docs/results/faults.json

# What an iteration takes on a GPU, and what was planned. Takes six minutes on an H100, and nothing where there is none.
bench-gpu: $(VENV)/tools
	$(BIN)/python -m mixgrpo.bench.gpu docs/results/gpu.json
	$(BIN)/python -m mixgrpo.bench.planned docs/results/planned.json

# What training needs. torch comes first and alone, so that nothing else decides which build is installed.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# And what tests, lint and benchmarks need.
$(VENV)/tools: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

.venv-lowest/tools: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/pip install --quiet --constraint constraints-lowest.txt torch
	.venv-lowest/bin/pip install --quiet --constraint constraints-lowest.txt --editable '.[test]'
	touch $@

# The newest of everything but torch, which is the tested one: the builds of others may bring CUDA along.
.venv-newest/tools: pyproject.toml
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/pip install --quiet --constraint constraints.txt torch
	.venv-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test]' "$$(grep ^torch== constraints.txt)"
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest .venv-release dist site .mypy_cache .pytest_cache .ruff_cache
