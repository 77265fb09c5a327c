# The whole vocabulary. `make demo` and `make test` each do all their set-up on a fresh Debian 12 as root.
PYTHON ?= $(shell for p in /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 python3; do command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-vm conformance lint bench docs setup clean

demo: setup
	$(BIN)/python tests/demo.py

test: setup-dev
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The tests of the runtime in a virtual machine with cgroup v2 alone: ARGS are pytest's, SYSTEMD=1 boots with systemd, QUICK=1 runs few.
test-vm: setup-dev
	tools/debian-packages vm
	PYTHONPATH=tools $(BIN)/python -m vm $(if $(SYSTEMD),--systemd) $(if $(QUICK),--quick) $(ARGS)

# The conformance kits on the built-in runtimes and storage drivers, side by side: docs/reference/*-conformance.md
conformance: setup-dev
	$(BIN)/python -m barque.testing.verify compare --profile default runtime:native runtime:runc runtime:crun \
		--output docs/reference/runtime-conformance.md
	$(BIN)/python -m barque.testing.verify compare --profile default storage:overlay storage:dir \
		--output docs/reference/storage-conformance.md

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-dev
	benchmarks/run.sh

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	tools/debian-packages runtime
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	tools/debian-packages test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist
