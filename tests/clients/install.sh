#!/usr/bin/env bash
# Installs the clients and the receiver that tests/clients.rs runs against: install.sh DIRECTORY
# `WEIR_CLIENTS=DIRECTORY cargo test` then runs them. Go is used where it is, and not installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
to=$(cd "$1" && pwd)
missing=()
command -v python3 >/dev/null && python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
command -v npm >/dev/null || missing+=(npm)
command -v prometheus >/dev/null || missing+=(prometheus)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
[ -x "$to/py/bin/python" ] || python3 -m venv "$to/py"
"$to/py/bin/pip" install --quiet --disable-pip-version-check datadog==0.54.0
npm install --silent --no-fund --no-audit --prefix "$to" hot-shots@11.1.0
if command -v go >/dev/null; then
  (cd "$here/go" && go build -o "$to/go-service" .)
fi
