# make demo    the environment, and the whole chain on a small archive that it makes
# make test    the environment, and the tests
# make lint    ruff, mypy, and the checks of cluster/, each of which must find the faults planted for it
# make bench   figures of docs/results.md (needs the dev corpus in ../shared)
# make drills  all fault drills and other long tests, and the table of docs/reliability.md
# make drills-check   every planted bug is caught
# make simulate       a million simulated schedules of the protocol, and every two faults in order
# make hostile bad inputs, each with its expected result, and the table of docs/hostile-inputs.md
# make attack  hostile acts from inside a decoder, at every level of confinement (most are part of make test)
# make engines the tables and queries of docs/sql.md on Spark, too (fetches it; Java 17 or 21 must be there)
# make fuzz    each fuzz target for SECONDS (60)
# make locks   the locks of the images, cluster/locks: every package with its hashes
# make sbom    what the images hold: SBOMs under build/, and docs/licences.md (installs each image's lock: 5 GB)
# make soak    random faults for SECONDS from SEED (one is drawn, and printed, where none is given)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made

.PHONY: demo test lint bench drills drills-check simulate soak hostile attack fuzz engines locks sbom

# limits in seconds of the few drills that `make test` runs, times this: two tests run at once
SLACK ?= 2

demo: $(MADE)
	$(BIN)/python -m jobs demo

test: $(MADE)
	BONAFIDE_DRILLS_SLACK=$(SLACK) $(BIN)/python -m pytest -n 2 --dist loadscope --durations 20

lint: $(MADE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.support.manifests --planted

bench: $(MADE)
	$(BIN)/python -m bench.dev_corpus
	$(BIN)/python -m bench.two_heads

RECORD := build/drills.jsonl
SIMULATED := build/simulation.jsonl
TABLE := $(BIN)/python -m tests.drills.table $(RECORD) $(SIMULATED)
SECONDS ?= 1800
SEED ?=

drills: $(MADE)
	mkdir -p $(dir $(RECORD)) && rm -f $(RECORD)
	BONAFIDE_DRILLS_RECORD=$(RECORD) $(BIN)/python -m pytest tests -m "drill or long"; status=$$?; \
	$(TABLE) && exit $$status

drills-check: $(MADE)
	$(BIN)/python -m tests.drills.check

simulate: export BONAFIDE_DRILLS_RECORD = $(SIMULATED)
simulate: $(MADE)
	mkdir -p $(dir $(SIMULATED)) && rm -f $(SIMULATED)
	$(BIN)/python -m tests.drills.simulation --processes 2 --exhaustive pairs
	$(BIN)/python -m tests.drills.simulation --processes 2 --count 1000000 $(if $(SEED),--seed $(SEED))
	$(TABLE)

soak: $(MADE)
	$(BIN)/python -m tests.drills.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

engines: $(MADE)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[engines]'
	$(BIN)/python -m pytest tests/integration/engines/test_engines.py -m "spark or not spark"

# PyTorch's page of wheels without CUDA, or a folder with the one of constraints.txt
TORCH_CPU ?= https://download.pytorch.org/whl/cpu/torch/
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --only-binary :all: --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28 --constraint constraints.txt --custom-compile-command 'make locks'

locks: $(MADE)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[locks]'
	mkdir -p build && sed -n 's/^torch==.*/&+cpu/p' constraints.txt > build/torch-cpu.txt
	$(LOCK) pyproject.toml --extra aws --override build/torch-cpu.txt --find-links $(TORCH_CPU) --output-file cluster/locks/cpu.txt
	$(LOCK) pyproject.toml --output-file cluster/locks/gpu.txt
	sed -n 's/^requires = \["\(.*\)"\].*/\1/p' pyproject.toml | $(LOCK) - --output-file cluster/locks/build.txt

# as the Dockerfile installs them; PYTHON must be of the version that the images have
sbom: $(MADE)
	for image in cpu gpu; do \
		$(PYTHON) -m venv --clear build/images/$$image && build/images/$$image/bin/python -m pip install --quiet \
			--require-hashes --no-deps --only-binary :all: --find-links $(TORCH_CPU) \
			--requirement cluster/locks/$$image.txt || exit 1; \
	done
	$(BIN)/python -m cluster.supply build/images

FUZZED := container decode provenance head list

fuzz: SECONDS := $(if $(filter command\ line,$(origin SECONDS)),$(SECONDS),60)
fuzz: $(MADE)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	for target in $(FUZZED); do $(BIN)/python -m tests.fuzz.run $$target --seconds $(SECONDS) || exit 1; done

HOSTILE := build/hostile.jsonl

hostile: $(MADE)
	mkdir -p $(dir $(HOSTILE)) && rm -f $(HOSTILE)
	BONAFIDE_HOSTILE_RECORD=$(HOSTILE) $(BIN)/python -m pytest tests/hostile -m "" --ignore tests/hostile/test_table.py; status=$$?; \
	$(BIN)/python -m tests.hostile.table $(HOSTILE) && exit $$status

attack: $(MADE)
	$(BIN)/python -m pytest tests/attack -m ""

# the environment: rebuilt when one of these two files changes
$(MADE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
