# make setup | demo | test | lint | data | bench | evaluation
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENT ?= When a user becomes inactive, find the incidents they own and assign them to their manager

.PHONY: setup demo test lint data bench evaluation clean

# The stamp says that the packages are those of pyproject.toml and constraints.txt;
# whether a model is in the cache, its own function knows (and is quick to say).
setup: $(STAMP)
	@$(BIN)/python -c "from decoding.embedded import merged_path; from flowdsl.generate import ADAPTER; merged_path(ADAPTER)"
	@$(BIN)/python -c "from flowdsl.encoder import encoder_path; encoder_path()"

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: setup
	@$(BIN)/flowdsl generate "$(REQUIREMENT)" --deadline 120 -o $(VENV)/demo.json
	@$(BIN)/flowdsl decompile $(VENV)/demo.json
	@cat $(VENV)/demo.json

# Two processes of one thread each: with more threads they wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pairs that models are trained and judged on.
data: setup
	$(BIN)/flowdsl data validate data/*.jsonl
	$(BIN)/flowdsl data stats --strict data/train.jsonl > /dev/null

bench: setup
	$(BIN)/flowdsl bench

# Hours; goes on where it was. make evaluation SPLITS="test ood" LIMIT=20
SPLITS ?= dev
evaluation: setup
	$(BIN)/python scripts/evaluation.py --split $(SPLITS) $(if $(LIMIT),--limit $(LIMIT))

clean:
	rm -rf $(VENV) build dist *.egg-info
