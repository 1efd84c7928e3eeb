#!/usr/bin/env bash
# Every interleaving of the locks and counts that acks and edges are made of, by loom.
set -euo pipefail
cd "$(dirname "$0")/.."
RUSTFLAGS="--cfg model" CARGO_TARGET_DIR=target/model cargo test -p weir-core --lib -- model
