# `make dev` runs the platform, `make test` tests it, `make help` lists all commands.
.DEFAULT_GOAL := help
.PHONY: help dev test search lock generate build up down logs restart clean secrets docker always

# .venv is created with the first of these commands that works (a pyenv shim may not) and is Python 3.11 or later.
PYTHON ?= python3 python3.13 python3.12 python3.11
COMPOSE := docker compose

# Recipes exec their command. SIGTERM, which make passes on, then reaches the command and not only a shell around it.

help: ## list the commands
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' Makefile | awk -F '|' '{ printf "make %-9s%s\n", $$1, $$2 }'

dev: .venv/requirements.installed ## run Postgres, the five services and their workers on this machine (Ctrl-C stops them)
	@exec .venv/bin/python manage.py up

test: .venv/requirements-dev.installed ## run the tests (ARGS="order_svc -k cancel" selects some)
	@exec .venv/bin/python -m tests $(ARGS)

search: .venv/requirements-dev.installed ## run the property tests on random examples (ARGS="order_svc" selects suites)
	@exec .venv/bin/python -m tests --search $(ARGS)

generate: .venv/requirements-dev.installed ## write the generated files: container files, OpenAPI documents, tables in docs
	@exec .venv/bin/python manage.py generate

# requirements*.txt have the ranges. The .lock files have exact versions with hashes, for every platform. Locked versions
# that are within the ranges are kept, unless ARGS contains --upgrade.
compile = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

lock: .venv/requirements-dev.installed ## update the .lock files (ARGS=--upgrade uses the newest versions)
	@$(compile) requirements.txt -o requirements.lock
	@$(compile) requirements-dev.txt -c requirements.lock -o requirements-dev.lock
	@$(compile) requirements-xlsx.txt -c requirements-dev.lock -o requirements-xlsx.lock
	@$(compile) requirements-tracing.txt -c requirements-dev.lock -o requirements-tracing.lock
	@$(compile) requirements-browser.txt -c requirements-dev.lock -o requirements-browser.lock
	@$(compile) requirements-generated.txt -c requirements-dev.lock -o requirements-generated.lock
	@$(compile) requirements-kubernetes.txt -c requirements-dev.lock --no-deps -o requirements-kubernetes.lock
	@$(compile) requirements-audit.txt -c requirements-dev.lock -o requirements-audit.lock

# The stamp file contains the Python version and the lock file that were installed. If they are unchanged, nothing is done.
wanted = { .venv/bin/python -c 'import sys, django; print(sys.version)' && cat $*.lock; } 2>/dev/null
is_installed = $(wanted) | cmp -s - $@

.venv/%.installed: always
	@$(is_installed) || .venv/bin/python -m pip --version >/dev/null 2>&1 || { \
	  $(find_python); \
	  echo "Creating .venv with $$python"; \
	  exec $$python -m venv --clear .venv; }
	@$(is_installed) || { \
	  echo "Installing $*.lock into .venv"; \
	  exec .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $*.lock; }
	@$(is_installed) || $(wanted) >$@ || { echo ".venv is damaged: delete it and try again." >&2; exit 1; }

define find_python
python=; old=; \
for each in $(PYTHON); do \
  $$each -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 3)' >/dev/null 2>&1; \
  case $$? in 0) python=$$each; break;; 3) old=$$each;; esac; \
done; \
fail() { echo "$$*" >&2; exit 1; }; \
test "$$python$$old" || fail "None of these commands works: $(PYTHON). Install Python 3.11 or later, or set PYTHON=..."; \
test "$$python" || fail "Python 3.11 or later is needed, $$old is $$($$old -V 2>&1). Install it, or set PYTHON=..."; \
$$python -c 'import ensurepip, venv' 2>/dev/null || \
  fail "$$python cannot create virtual environments: install its venv package (Debian and Ubuntu:" \
    "apt install $$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))."
endef

build: docker ## build the container image
	@exec $(COMPOSE) build

up: docker ## run everything in containers, and wait until all are healthy
	@exec $(COMPOSE) up --detach --build --wait

down: docker ## stop the containers; the data is kept
	@exec $(COMPOSE) down

restart: docker ## stop and start the containers; the data is kept
	@$(COMPOSE) down
	@exec $(COMPOSE) up --detach --build --wait

logs: docker ## follow the containers' logs
	@exec $(COMPOSE) logs --follow --tail 100

clean: docker ## stop the containers and DELETE their data
	@exec $(COMPOSE) down --volumes --remove-orphans

secrets: ## create the missing secrets of production in secrets/
	@exec deploy/make_secrets.sh

docker:
	@docker compose version >/dev/null 2>&1 || { \
	  echo "This needs Docker with Compose 2: https://docs.docker.com/get-docker/ (make dev does not need it)." >&2; exit 1; }
