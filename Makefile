# `make train` and `make test` work on a bare machine with Python 3.10 or later: they create .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1

.PHONY: train test lint types pretrain bench bench-turbo bench-learning bench-sampling bench-serving bench-algorithms clean

train: $(VENV)/installed
	$(BIN)/mixgrpo train scenes

test: $(VENV)/installed lint types
	$(BIN)/pytest

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/installed
	$(BIN)/mypy

# The tiny model from nothing, then its accuracy, samples and loss curve. Takes 35 minutes on 2 cores.
pretrain: $(VENV)/installed
	$(BIN)/python -m mixgrpo.pretraining.pretrain src/mixgrpo/tiny/model
	$(BIN)/python -m mixgrpo.pretraining.report src/mixgrpo/tiny/model

# What an iteration of each algorithm costs, in bfloat16. Takes 15 minutes on 2 cores and a C++ compiler.
bench: $(VENV)/installed
	$(BIN)/mixgrpo bench --dtype bfloat16 --compile --json benchmarks/results/cost.json --png docs/cost.png

# What turbo is made of, and how costs grow. Takes 15 minutes on 2 cores and a C++ compiler.
bench-turbo: $(VENV)/installed
	$(BIN)/mixgrpo bench --dtype bfloat16 --levers --repetitions 1 --json benchmarks/results/levers.json
	$(BIN)/mixgrpo bench --dtype bfloat16 --one-by-one --prompts 1 --repetitions 1 --json benchmarks/results/one-by-one.json
	$(BIN)/mixgrpo bench --dtype bfloat16 --suffix --prompts 12 --repetitions 1 --json benchmarks/results/suffix.json --png docs/suffix.png
	$(BIN)/mixgrpo bench --dtype bfloat16 --growth --json benchmarks/results/growth.json --png docs/growth.png

# What is learned for it: three seeds, four minutes each. Takes 35 minutes on 2 cores.
bench-learning: $(VENV)/installed
	$(BIN)/mixgrpo bench --dtype bfloat16 --learning --learning-rate 4e-4 --only turbo --minutes 4 --repetitions 3 --json benchmarks/results/learning.json --png docs/learning.png

# What a group shares: naive and shared rollouts, call by call.
bench-sampling: $(VENV)/installed
	PYTHONPATH=tests/support $(BIN)/python benchmarks/sampling.py

# A reward over HTTP: throughput, then what happens when servers fail.
bench-serving: $(VENV)/installed
	PYTHONPATH=tests/support $(BIN)/python benchmarks/serving.py
	PYTHONPATH=tests/support $(BIN)/python benchmarks/faults.py

# Flow-GRPO, DanceGRPO, MixGRPO and Flash, and two recipes of ours, for three minutes each. Takes 23 minutes on 2 cores.
bench-algorithms: $(VENV)/installed
	$(BIN)/python benchmarks/algorithms.py

# torch comes first and alone, so that nothing else decides which build is installed.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
