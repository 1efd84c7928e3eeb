#!/usr/bin/env bash
# Looks for bytes that break a parser: fuzz/run.sh [SECONDS] [TARGET…]. Needs a nightly compiler and
# `cargo install cargo-fuzz`. What it finds worth keeping goes to fuzz/corpus, where every test run
# replays it.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
[ $# -gt 0 ] || set -- capture frame row statsd frames flows syntax pipeline style
for target in "$@"; do
  mkdir -p "corpus/$target" "found/$target"
  cargo +nightly fuzz run --fuzz-dir . "$target" "found/$target" "corpus/$target" -- \
    -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048
done
