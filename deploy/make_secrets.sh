#!/bin/sh
# Creates the missing secrets for compose.prod.yaml in secrets/, or in the folder that is the first argument. Existing
# files are kept. Only the owner can open the folder; its files are readable, because containers run as other users.
# POSTGRES_AT is where the databases are, by default postgres:5432/platform.
set -eu
umask 077
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || cd "$root"
folder=${1:-secrets}
at=${POSTGRES_AT:-postgres:5432/platform}

random() { # in hexadecimal, because passwords become parts of URLs
    od -An -tx1 -N 32 /dev/urandom | tr -d ' \n'
}

keep() { # name, content
    if [ ! -s "$folder/$1" ]; then
        printf '%s\n' "$2" >"$folder/.$1.new"
        mv "$folder/.$1.new" "$folder/$1"
        echo "made $folder/$1"
    fi
    chmod 644 "$folder/$1"
}

mkdir -p "$folder"
chmod 700 "$folder"
keep secret_key "$(random)"
keep metrics_token "$(random)"
keep email_url consolemail://
if [ -s "$folder/database_url" ] && [ ! -s "$folder/postgres_password" ]; then
    echo "$folder/database_url contains the password that is missing in $folder/postgres_password: delete both or write it there." >&2
    exit 1
fi
keep postgres_password "$(random)"
keep database_url "postgresql://postgres:$(cat "$folder/postgres_password")@$at"
for package in "$root"/*_svc; do
    stem=$(basename "$package" _svc)
    keep "${stem}_database_url" "postgresql://${stem}_svc:$(random)@$at"
done
# A certificate that no browser trusts, until that of an authority replaces it.
if [ ! -s "$folder/tls_certificate" ] || [ ! -s "$folder/tls_key" ]; then
    if [ -s "$folder/tls_certificate" ] || [ -s "$folder/tls_key" ]; then
        echo "$folder has only one of tls_certificate and tls_key: add the other one, or delete both." >&2
        exit 1
    fi
    if ! command -v openssl >/dev/null; then
        echo "Without openssl no certificate can be made: put yours into $folder/tls_certificate and $folder/tls_key." >&2
        exit 1
    fi
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
        -keyout "$folder/.tls_key.new" -out "$folder/.tls_certificate.new" 2>/dev/null
    mv "$folder/.tls_key.new" "$folder/tls_key"
    mv "$folder/.tls_certificate.new" "$folder/tls_certificate"
    echo "made $folder/tls_certificate and tls_key, which no browser trusts: replace them"
fi
chmod 644 "$folder/tls_certificate" "$folder/tls_key"
echo "The secrets in $folder are complete."
