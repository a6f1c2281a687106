# `make demo` and `make test` need git, make, Python 3.11 or later and a package index; no more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo test lint types layers unit browser bench docs reports clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: export OMP_NUM_THREADS = 2
demo: $(STAMP)
	@mkdir -p build/demo
	$(BIN)/instructmine select examples/pool.jsonl --size 50 --indicators mtld,embedding -o build/demo/gold.jsonl --workdir build/demo/work
	$(BIN)/instructmine report build/demo/gold.jsonl -o build/demo/report.html

test: browser lint types layers unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

# The engines' tests share one Ray cluster, which takes the cores that there are.
unit: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --ignore=tests/engines
	$(BIN)/python -m pytest tests/engines

# The report's tests drive a real browser; where none can be installed they are skipped, loudly.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	  || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && echo "installing chromium for the report's tests" \
	       && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || echo "NO BROWSER: the report's browser tests will be skipped; install chromium"

# Against the peers, in environments of their own: the first run installs them, 6 GB in all.
# `make bench BENCH=--quick` is a smoke run; `BENCH=--resume` goes on after a stop.
bench:
	$(PYTHON) -m benchmarks.environments
	.venv-bench/bin/python -m benchmarks --out build/bench $(BENCH)

# A page for every run that a study has recorded.
reports: $(STAMP)
	$(BIN)/python studies/reports.py --out build/studies

docs: $(STAMP)
	$(BIN)/python -m typer instructmine.cli.app utils docs --name instructmine --output docs/cli.md

clean:
	rm -rf build dist $(VENV) .venv-bench .venv-peer-* .pytest_cache .ruff_cache .mypy_cache
