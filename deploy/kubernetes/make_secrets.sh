#!/bin/sh
# Creates the missing secrets of an overlay, in its folder secrets/: those of deploy/make_secrets.sh, and a key for each
# service. Existing files are kept. The argument is the overlay's folder. POSTGRES_AT is where Postgres is, by default
# postgres:5432/platform; PYTHON is an interpreter that has the platform's packages.
set -eu
[ $# -eq 1 ] && [ -f "$1/kustomization.yaml" ] || {
    echo "Usage: $0 deploy/kubernetes/overlays/production" >&2
    exit 1
}
root=$(cd "$(dirname "$0")/../.." && pwd)
secrets=$(cd "$1" && pwd)/secrets
"$root/deploy/make_secrets.sh" "$secrets"
[ -n "${PYTHON:-}" ] || make --no-print-directory -C "$root" .venv/requirements.installed
umask 077
KEYS_DIR=$secrets/keys "${PYTHON:-$root/.venv/bin/python}" "$root/manage.py" keys
