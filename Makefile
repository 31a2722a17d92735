# Gauntlet: `make help` lists what there is. The first target that needs it makes .venv from requirements.lock.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TORCH ?= auto
TORCH_VERSION := $(shell sed -n 's/^ *"torch==\([^"]*\)".*/\1/p' pyproject.toml)
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PORT ?= 8000
WORKERS ?= 2
TORCH_STAMP := $(VENV)/.torch$(if $(filter gpu,$(TORCH)),-gpu)
DEPS := $(VENV)/.installed $(TORCH_STAMP)
LABEL_STUDIO_VERSION := 1.23.2
LABEL_STUDIO_VENV := .venv-label-studio
LABEL_STUDIO_STAMP := $(LABEL_STUDIO_VENV)/.$(LABEL_STUDIO_VERSION)-gunicorn
LABEL_STUDIO := 'label-studio==$(LABEL_STUDIO_VERSION)' gunicorn psycopg2-binary
TEXTATTACK_VERSION := 0.3.11
TEXTATTACK_VENV := .venv-textattack
TEXTATTACK_STAMP := $(TEXTATTACK_VENV)/.$(TEXTATTACK_VERSION)
# Beside it: what the benchmark takes from Gauntlet (pydantic), and what torch itself needs.
TEXTATTACK := 'textattack==$(TEXTATTACK_VERSION)' pydantic sympy networkx jinja2

# Two torch threads in each of two test processes would fight over two cores.
TEST_ENV := env -u DATABASE_URL -u BROKER_URL OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
ROUND_ARGS := $(if $(STORIES),--stories '$(STORIES)') $(if $(SEED),--seed='$(SEED)') $(if $(POLICY),--policy '$(POLICY)') \
	$(if $(CONFIG),--config '$(CONFIG)') $(if $(PRESET),--preset '$(PRESET)') $(if $(FULL),--full) $(if $(RESUME),--resume)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo serve worker test test-label-studio check format bench bench-peers lock clean torch

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(DEPS) ## Make .venv from requirements.lock (TORCH=gpu: torch with CUDA)
	@echo "$(VENV) holds what requirements.lock says; torch $$($(PY) -c 'import importlib.metadata as m; print(m.version("torch"))')"

demo: $(DEPS) ## One adversarial round, end to end (STORIES=DIR POLICY=NAME|FILE SEED=N CONFIG=FILE PRESET=tiny|demo|full RESUME=1)
	@$(PY) manage.py run_round $(ROUND_ARGS)

serve: $(DEPS) ## Web pages and API at http://127.0.0.1:8000 (PORT=N)
	@$(PY) manage.py serve --port $(PORT)

worker: $(DEPS) ## A worker beside a broker: needs DATABASE_URL and BROKER_URL (QUEUES=scoring,training)
	@$(PY) manage.py worker $(if $(QUEUES),--queues $(QUEUES))

test: $(DEPS) ## Run the tests (SERVICES=no leaves PostgreSQL and RabbitMQ out; ARGS='-k name')
	@$(TEST_ENV) $(PY) -m pytest -rs -n $(WORKERS) --dist loadfile $(if $(filter no,$(SERVICES)),-m 'not services') $(ARGS)

test-label-studio: $(DEPS) $(LABEL_STUDIO_STAMP) ## The round trip with a real Label Studio (installs it, 0.8 GB)
	@$(TEST_ENV) LABEL_STUDIO=$(CURDIR)/$(LABEL_STUDIO_VENV)/bin/label-studio \
		$(PY) -m pytest -rs tests/acceptance/test_label_studio.py $(ARGS)

check: $(DEPS) ## Lint, types, layers, migrations and the OpenAPI schema
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict engine labeling_adapters webapi workers manage.py
	$(VENV)/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py spectacular --validate --fail-on-warn --file /dev/null

format: $(DEPS) ## Format the code and fix what ruff can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(DEPS) bench-peers ## Run every benchmark, quick sizes (FULL=1: the sizes that count)
	@failed=""; for script in benchmarks/[a-z]*.py; do \
		[ -e "$$script" ] || continue; \
		echo "== $$script"; $(PY) "$$script" $(if $(FULL),,--quick) || failed="$$failed $$script"; \
	done; [ -z "$$failed" ] || { echo "did not measure:$$failed" >&2; exit 1; }

bench-peers: $(DEPS) $(LABEL_STUDIO_STAMP) $(TEXTATTACK_STAMP) ## Install what the benchmarks compare with (2.4 GB)
	@echo "$(LABEL_STUDIO_VENV) holds Label Studio $(LABEL_STUDIO_VERSION), $(TEXTATTACK_VENV) TextAttack" \
		"$(TEXTATTACK_VERSION); the other peers come with requirements.lock"

lock: $(DEPS) ## Resolve pyproject.toml into requirements.lock again
	$(VENV)/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-package torch --quiet -o requirements.lock

clean: ## Remove .venv and caches; var/ (database, reports, models) stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache staticfiles
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- Installation ---------------------------------------------------------------------------------------------------

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Gauntlet needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "This Python makes no virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

torch: $(TORCH_STAMP)

# The CPU build of torch into an environment, by its Python.
define install-torch
pip="$(1) -m pip install --disable-pip-version-check"; \
	if [ "$$(uname -s)" = Darwin ]; then $$pip --no-deps 'torch==$(TORCH_VERSION)'; \
	else $$pip --no-deps 'torch==$(TORCH_VERSION)+cpu' 2>/dev/null \
		|| $$pip --no-deps --retries 1 --timeout 15 --index-url $(TORCH_CPU_INDEX) 'torch==$(TORCH_VERSION)' \
			2>/dev/null || { echo "No CPU build within reach; taking the default build, which brings CUDA along."; \
			$$pip 'torch==$(TORCH_VERSION)'; }; fi
endef

# torch comes first and by itself: its own metadata draws gigabytes of CUDA packages on Linux. A CPU build from a folder
# or index that pip is set up with wins, then PyTorch's CPU index, then whatever the default index has.
$(VENV)/.torch: pyproject.toml | $(VENV)/bin/pip
	@version=$$($(PY) -c 'import importlib.metadata as m; print(m.version("torch").split("+")[0])' 2>/dev/null); \
	if [ "$$version" != "$(TORCH_VERSION)" ] && [ "$(TORCH)" != gpu ]; then \
		echo "Installing torch $(TORCH_VERSION) ..."; \
		$(call install-torch,$(PY)); \
	fi
	@touch $@

# `===` takes the default build and not one marked +cpu, whatever is installed now.
$(VENV)/.torch-gpu: pyproject.toml | $(VENV)/bin/pip
	@echo "Installing torch $(TORCH_VERSION) with CUDA ..."
	@$(PY) -m pip install --disable-pip-version-check 'torch===$(TORCH_VERSION)'
	@touch $@ $(VENV)/.torch

$(VENV)/.installed: requirements.lock $(TORCH_STAMP)
	@echo "Installing $$(grep -c == requirements.lock) packages from requirements.lock, about half a minute ..."
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.lock
	@if $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.lock \
		&& $(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --require-hashes -r requirements.lock; then :; \
	else echo "uv could not install; pip does the same, in minutes instead of seconds."; \
		$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock; fi
	@touch $@

# Label Studio wants other versions of much that Gauntlet uses, so it has an environment of its own.
$(LABEL_STUDIO_STAMP): | $(DEPS)
	@echo "Installing Label Studio $(LABEL_STUDIO_VERSION) into $(LABEL_STUDIO_VENV) ..."
	@rm -rf $(LABEL_STUDIO_VENV)
	@$(PYTHON) -m venv $(LABEL_STUDIO_VENV)
	@$(VENV)/bin/uv pip install --quiet --python $(LABEL_STUDIO_VENV)/bin/python $(LABEL_STUDIO) \
		|| $(LABEL_STUDIO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(LABEL_STUDIO)
	@touch $@

# TextAttack's own metadata makes pip backtrack for ever: sentencepiece and setuptools are overridden, torch is there.
$(TEXTATTACK_STAMP): | $(DEPS)
	@echo "Installing TextAttack $(TEXTATTACK_VERSION) into $(TEXTATTACK_VENV) ..."
	@rm -rf $(TEXTATTACK_VENV)
	@$(PYTHON) -m venv $(TEXTATTACK_VENV)
	@$(call install-torch,$(TEXTATTACK_VENV)/bin/python)
	@printf '%s\n' 'sentencepiece>=0.2' 'setuptools<81' 'torch; python_version < "3"' > $(TEXTATTACK_VENV)/overrides.txt
	@$(VENV)/bin/uv pip install --quiet --python $(TEXTATTACK_VENV)/bin/python \
		--overrides $(TEXTATTACK_VENV)/overrides.txt $(TEXTATTACK)
	@touch $@
