PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
REPORT := reports/run
CAMPAIGNS := tests/test_flips.py tests/test_fuzz.py tests/store/test_folders.py tests/test_device.py tests/metrics/judges/test_remote.py
TORTURE := $(or $(TMPDIR),/tmp)/interp-torture

.PHONY: report test lint torture notebooks clean

report: $(READY)  # the whole method on the pocket model
	$(BIN)/interp report --model pocket --out $(REPORT)
	@echo "The report: $(CURDIR)/$(REPORT)/report.html"

test: lint  # what has to pass before a change lands
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright -p pyproject.toml

torture: $(READY)  # the long campaigns, of which `make test` runs a fixed part: flipped bits, fuzzed input, killed reports
	INTERP_TORTURE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile $(CAMPAIGNS)
	$(BIN)/python tests/torture/kill_report.py --size quick --kills 10 --work $(TORTURE)

notebooks: $(READY)  # build and run every .ipynb from its percent script
	TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error $(BIN)/jupytext --to ipynb --execute notebooks/*.py

clean:  # remove what the other targets write, but not .venv
	rm -rf $(REPORT) build dist *.egg-info .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find interp tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and by its exact version: any other spelling, or leaving it to the packages that need it, downloads
# gigabytes of CUDA packages. lpips and open_clip, which the tests compare with, come without torchvision, which fits no
# CPU build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install torch==2.13.0 -c constraints.txt
	$(BIN)/pip install -c constraints.txt -e ".[dev,notebooks]"
	$(BIN)/pip install -c constraints.txt --no-deps lpips open_clip_torch
	touch $@
