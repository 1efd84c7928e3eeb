#!/usr/bin/env bash
# weir beside softflowd and nfpcapd on one capture, in one run. Needs root to install the peers.
#
#   benches/peers/run.sh CAPTURES_DIR [PACKETS]
#
# Reports CPU seconds (user and system), packets a CPU-second, and peak memory; then the ratios.
set -euo pipefail
cd "$(dirname "$0")/../.."
captures=${1:-tests/pcap}
packets=${2:-5400000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in softflowd nfpcapd /usr/bin/time; do
  command -v "$tool" >/dev/null || { apt-get update -qq; apt-get install -y -qq softflowd nfdump time >/dev/null; break; }
done
cargo build --release --quiet

python3 benches/peers/make_capture.py "$work/big.pcap" "$packets" 60 \
  "$captures"/basic/{synscan,443-firefox,netflix,KakaoTalk_talk}.pcap "$captures"/tcp/bot.pcap
cat "$work/big.pcap" > /dev/null
mkdir "$work/nf"

weir='settings(memory: 2GiB) pcap("'$work'/big.pcap") | biflow | window(30d) { flows = count(), packets = sum(sent_packets) + sum(received_packets), retransmits = sum(sent_retransmits) + sum(received_retransmits) } | stdout(ndjson)'

# Runs a tool three times and keeps the median of its CPU time.
measure() {
  local name=$1
  shift
  for _ in 1 2 3; do
    /usr/bin/time -f "%U %S %M" -o "$work/time" "$@" > "$work/out" 2> "$work/err" || { cat "$work/err"; exit 1; }
    tail -1 "$work/time"
  done | sort -n | sed -n 2p | awk -v name="$name" -v n="$packets" \
    '{cpu = $1 + $2; printf "%-12s %6.2f CPU s  %6.2f M packets/CPU s  %7.1f MiB\n", name, cpu, n / cpu / 1e6, $3 / 1024}' \
    | tee -a "$work/table"
}

measure weir target/release/weir run -e "$weir"
cat "$work/out"
measure softflowd softflowd -r "$work/big.pcap" -m 4000000
measure nfpcapd nfpcapd -r "$work/big.pcap" -l "$work/nf"
awk 'NR == 1 {weir = $2} NR > 1 {printf "weir is %.2f times %s\n", $2 / weir, $1}' "$work/table"
