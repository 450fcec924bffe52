# The commands that people and CI run alike. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed ## render phantom radiographs, score them from a watched folder, draw a contact sheet
	$(BIN)/edge-cxr demo --folder demo

test: $(VENV)/.installed-for-tests ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed-for-tests ## the linters and the type checker
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) demo build *.egg-info

# A stamp, not the interpreter: an environment that was cut short while it was made has one too.
$(VENV)/.made:
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# What the box needs: no torch.
$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	@echo "Installing edge-cxr into $(VENV) (about 0.7 GB) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# Training, export and the test tools: torch with CUDA alone takes several gigabytes.
$(VENV)/.installed-for-tests: pyproject.toml | $(VENV)/.made
	@echo "Installing edge-cxr with training, export and test tools into $(VENV) (several gigabytes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[export,dev]'
	@touch $@ $(VENV)/.installed

-include mk/bundles.mk mk/engines.mk mk/durability.mk mk/fuzz.mk mk/install.mk mk/tools.mk
