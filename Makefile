# The two commands of the README are `make run` and `make test`; both set up everything they need in .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV      = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
          --no-annotate --no-emit-index-url --no-emit-find-links --quiet

# What one image for proxy and operator holds; `translate` has a variant of its own: a quarter more to fetch.
IMAGE_EXTRAS := --extra operator --extra bedrock --extra redis --extra prices --extra traces

CRDS       := charts/seawall-crds/templates
PAGES      := docs/kinds
MONITORING := charts/seawall/files

.PHONY: run serve test lint bench crds monitoring kubernetes lock image e2e clean

run: $(VENV)/run.stamp  ## the demo: lab and proxy on 127.0.0.1:4100, no API key needed
	@$(BIN)/seawall demo

serve: $(VENV)/run.stamp  ## the proxy with config/policy.yaml
	@$(BIN)/seawall serve --policy config/policy.yaml

test: $(VENV)/dev.stamp lint kubernetes  ## everything CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m seawall_operator.crds --check $(CRDS) $(PAGES)
	$(BIN)/python -m monitoring --check $(MONITORING)

crds: $(VENV)/dev.stamp  ## the CustomResourceDefinitions and docs/kinds, from the policy's models and docs/documents.md
	$(BIN)/python -m seawall_operator.crds $(CRDS) $(PAGES)

monitoring: $(VENV)/dev.stamp  ## the chart's dashboard and alerts, from the metrics' definitions
	$(BIN)/python -m monitoring $(MONITORING)

# Of their sources, once, into .cache; KUBEBUILDER_ASSETS names ready ones instead. Says what to do where neither works.
kubernetes: $(VENV)/dev.stamp  ## the API server that tests/cluster runs against, and helm
	@PYTHONPATH=tests/support nice $(BIN)/python -m kubernetes_binaries

image:  ## one image for proxy and operator, and what is in it, in dist/; VARIANT=translate adds translation
	@image/build.sh $(VARIANT)

# Needs root: the image, and this machine as a node of a Kubernetes that runs it. docs/end-to-end.md.
e2e: $(VENV)/dev.stamp  ## what `make test` leaves out
	@why=$$(e2e/preflight.sh) || { echo "make e2e: $$why" >&2; exit 1; }
	@PYTHONPATH=.:tests/support nice $(BIN)/python -m e2e.binaries
	$(BIN)/python -m pytest -q --timeout 600 e2e

bench: $(VENV)/dev.stamp  ## the README's figures, into README.md and docs/benchmarks.md
	$(BIN)/python bench/run.py --write README.md docs/benchmarks.md
	$(BIN)/python bench/run.py --tls --write docs/benchmarks.md
	$(BIN)/python bench/cadence.py
	$(BIN)/python bench/outage.py
	$(BIN)/python bench/race.py
	$(BIN)/python bench/translate.py

# The locks are complete. Left to resolve by itself, an older pip takes a newer release than the pinned one for a
# requirement with extras, and then refuses it for having no hash.
$(VENV)/run.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seawall needs Python 3.11 or newer; set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (once)"
	@$(PIP) --require-hashes --no-deps -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@$(PIP) --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

lock:  ## pin the dependencies anew; needs uv in .venv
	$(UV) --group build --output-file requirements.lock
	$(UV) --group build --group dev --all-extras --output-file requirements-dev.lock
	$(UV) --group build --extra operator --constraint requirements-dev.lock --output-file requirements-operator.lock
	$(UV) $(IMAGE_EXTRAS) --constraint requirements-dev.lock --output-file image/requirements.lock
	$(UV) $(IMAGE_EXTRAS) --extra translate --constraint requirements-dev.lock --output-file image/requirements-translate.lock
	$(subst compile pyproject.toml,compile,$(UV)) --group build --group sbom \
		--constraint requirements-dev.lock --output-file image/requirements-build.lock
	echo openai | $(subst compile pyproject.toml,compile -,$(UV)) \
		--constraint requirements-dev.lock --output-file e2e/agent/requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
