#!/usr/bin/env bash
# Installs what benches/dogstatsd.py puts weir beside: dogstatsd.sh DIRECTORY. Needs root, npm and Go.
set -euo pipefail
mkdir -p "$1"
to=$(cd "$1" && pwd)
command -v netdata >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends netdata-core >/dev/null; }
npm install --silent --no-fund --no-audit --prefix "$to" statsd@0.9.0
[ -x "$to/statsd_exporter" ] || GOBIN="$to" go install github.com/prometheus/statsd_exporter@v0.31.0
