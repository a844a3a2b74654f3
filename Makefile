# Variables that steer, with their defaults: make train CONFIG=... MANIFEST=... RUN=...
CONFIG   ?= demo
DATA     ?= data/simulated
SUBJECTS ?= 16
SEED     ?= 0
MANIFEST ?= $(DATA)/manifest.csv
RUN      ?= runs/demo
PREPARED ?= data/prepared
INPUT    ?= $(MANIFEST)
SPLIT    ?= test
ROOT     ?=
MODEL    ?=
SCAN     ?=
TRUTH    ?=
TESTS    ?=
NAME     ?=
ARGS     ?=
PYTHON   ?= python3

VENV := .venv
RUN_IN := $(VENV)/bin/
STAMP := $(VENV)/.made
# INPUT may be a scan, a folder or a manifest; only a manifest has splits
INFER_SPLIT = $(if $(filter %.csv,$(INPUT)),--split $(SPLIT))

# A process a core; more than eight gain nothing and take 1 GB each
IN_PARALLEL := -n auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup try demo data manifest prepare train infer evaluate report test weights browser reliability reliability-sample fuzz test-scale lint docs sbom licenses audit bench study clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "variables: CONFIG=$(CONFIG) DATA=$(DATA) SUBJECTS=$(SUBJECTS) SEED=$(SEED)"
	@echo "           ROOT=$(ROOT) MANIFEST=$(MANIFEST) PREPARED=$(PREPARED) RUN=$(RUN) INPUT=$(INPUT) SPLIT=$(SPLIT)"
	@echo "your own scans: make manifest ROOT=/data/bids MANIFEST=raw.csv"
	@echo "                make prepare MANIFEST=raw.csv PREPARED=prepared"
	@echo "                make train CONFIG=t1w_to_t2w MANIFEST=prepared/manifest.csv RUN=runs/mine"

setup: $(STAMP)  ## virtual environment with everything pinned (done once)

$(STAMP): constraints.txt setup.cfg pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN_IN)pip install --quiet -c constraints.txt --editable '.[all,dev,docs]'
	touch $(STAMP)

try: $(STAMP)  ## a T2w from one T1w, the average brain, by the model that comes with the package; a figure of both
	$(RUN_IN)volumetric fetch template --out data/template
	$(RUN_IN)volumetric infer data/template/icbm152_T1w.nii.gz --out data/template/synthetic --figures

demo: try data  ## that; then simulated cohort -> a model of its own -> T2w volumes -> scores -> a page to look at
	$(MAKE) --no-print-directory train
	$(MAKE) --no-print-directory infer
	$(MAKE) --no-print-directory evaluate
	$(MAKE) --no-print-directory report

data: $(STAMP)  ## the simulated cohort: DATA, SUBJECTS, SEED
	$(RUN_IN)volumetric phantom --out $(DATA) --subjects $(SUBJECTS) --seed $(SEED)

manifest: $(STAMP)  ## list your own scans: ROOT (a folder), MANIFEST (a CSV to write)
	@test -n "$(ROOT)" || { echo "error: say where the scans are, as in: make manifest ROOT=/data/bids MANIFEST=my.csv"; exit 2; }
	$(RUN_IN)volumetric discover $(ROOT) --out $(MANIFEST)

prepare: $(STAMP)  ## raw scans -> pairs: MANIFEST, PREPARED
	$(RUN_IN)volumetric prepare $(MANIFEST) --out $(PREPARED)

train: $(STAMP)  ## train: MANIFEST, CONFIG, RUN
	$(RUN_IN)volumetric train $(MANIFEST) --config $(CONFIG) --out $(RUN)

infer: $(STAMP)  ## synthesize: INPUT, SPLIT, RUN
	$(RUN_IN)volumetric infer $(INPUT) $(INFER_SPLIT) --model $(RUN) --out $(RUN)/predictions

evaluate: $(STAMP)  ## score: MANIFEST, SPLIT, RUN
	$(RUN_IN)volumetric evaluate $(RUN)/predictions $(MANIFEST) --split $(SPLIT) --out $(RUN)/metrics

report: $(STAMP)  ## one page of scores, slices and a 3D viewer: RUN
	$(RUN_IN)volumetric report $(RUN)

test: $(STAMP)  ## all tests, with coverage; TESTS='-n 0' for one process
	$(RUN_IN)python -m pytest -q $(IN_PARALLEL) --cov --cov-report=term $(TESTS)

weights: $(STAMP)  ## a shipped model's training, two hours: MODEL, MANIFEST (of its prepared pairs, and of label maps)
	$(RUN_IN)volumetric train $(MANIFEST) --config volumetric/models/$(or $(MODEL),t1w_to_t2w)/training.yaml --out runs/weights

browser:  ## Chromium for the tests that open the report in it (Debian, as root; without it they are skipped)
	command -v chromium >/dev/null || { apt-get -qq -o Acquire::Retries=3 update && \
	  apt-get -qq -y -o Acquire::Retries=3 install --no-install-recommends chromium; }

reliability: $(STAMP)  ## long proofs: kills, damaged inputs, faults and signals, in one table
	$(RUN_IN)python -m pytest -q -m reliability
	PYTHONPATH=. OMP_NUM_THREADS=1 $(RUN_IN)python -m benchmarks.reliability --write benchmarks/reliability/results.csv

reliability-sample: $(STAMP)  ## a twelfth of the damage, in minutes
	PYTHONPATH=. OMP_NUM_THREADS=1 $(RUN_IN)python -m benchmarks.reliability --sample

fuzz: $(STAMP)  ## a fixed count of atheris inputs for each reader: NIfTI, manifest, model.yaml, sidecar
	$(RUN_IN)pip install --quiet -c constraints.txt --editable '.[fuzz]'
	PYTHONPATH=. $(RUN_IN)python -m benchmarks.reliability.fuzz

test-scale: $(STAMP)  ## long proofs: memory does not grow with the cohort
	$(RUN_IN)python -m pytest -q -m scale

lint: $(STAMP)  ## ruff, mypy, and no function of the package above a complexity of 10
	$(RUN_IN)ruff format --check .
	$(RUN_IN)ruff check .
	$(RUN_IN)mypy
	@complex="$$($(RUN_IN)radon cc --show-complexity --min C volumetric)"; \
	  test -z "$$complex" || { echo "$$complex"; echo "error: split these functions; none may be more complex than 10 (rank B)"; exit 1; }

docs: $(STAMP)  ## the documentation as a site, in site/, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(RUN_IN)mkdocs build --strict --quiet

sbom: $(STAMP)  ## all installed packages as a CycloneDX list, build/sbom.cdx.json
	mkdir -p build
	$(RUN_IN)cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.cdx.json $(RUN_IN)python
	sed -i 's#file://$(CURDIR)#.#' build/sbom.cdx.json

licenses: $(STAMP)  ## the page of dependencies with versions and licenses, docs/reference/dependencies.md
	$(RUN_IN)pip install --quiet -c constraints.txt --editable '.[fuzz]'
	$(RUN_IN)python docs/_scripts/dependencies.py

audit: $(STAMP)  ## known vulnerabilities of all installed packages (network); fails if it cannot ask
	@$(RUN_IN)python docs/_scripts/audit.py

bench: $(STAMP)  ## seconds and memory beside plain MONAI, as ratios; MODEL, SCAN and TRUTH to use your own
	$(RUN_IN)python benchmarks/inference.py --whole-volume $(if $(MODEL),--model $(MODEL)) $(if $(SCAN),--scan $(SCAN)) $(if $(TRUTH),--truth $(TRUTH))
	$(RUN_IN)python benchmarks/evaluation.py
	$(RUN_IN)python benchmarks/training.py

study: $(STAMP)  ## a study of benchmarks/, as in: make study NAME=gray ARGS='prepared/manifest.csv --out runs/gray'
	@test -f benchmarks/$(NAME).py || { echo "error: no study '$(NAME)' in benchmarks/, as in: make study NAME=gray ARGS=--help"; exit 2; }
	$(RUN_IN)python benchmarks/$(NAME).py $(ARGS)

clean:  ## remove the environment and caches; data/ and runs/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
