#!/usr/bin/env bash
# Compiles the BPF program: ebpf/build.sh [--check]. With --check the committed object has to be what comes out.
# Needs Debian's clang and llvm (14).
set -euo pipefail
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# Paths would make the object another one in each directory.
clang -target bpfel -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
  -fdebug-compilation-dir=/ -ffile-prefix-map="$PWD"=/ -c bpf/flows.bpf.c -o "$out/flows.bpfel.o"
llvm-strip -g "$out/flows.bpfel.o"
if [ "${1:-}" = --check ]; then
  cmp "$out/flows.bpfel.o" flows.bpfel.o || { echo "ebpf/flows.bpfel.o is not of this source: run ebpf/build.sh"; exit 1; }
else
  cp "$out/flows.bpfel.o" flows.bpfel.o
fi
