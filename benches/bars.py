#!/usr/bin/env python3
"""Bars that need whole runs: cost a packet at 100 thousand, 1 million and 10 million packets with
equal open flows, resident bytes a flow, idle memory, start to first packet.

    cargo build --release && python3 benches/bars.py [--runs 3]

Prints medians; exits with 1 if a bar is missed.
"""

import argparse
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

WEIR = pathlib.Path(__file__).parent.parent / "target/release/weir"
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
PAYLOAD_BYTES = 16
PACKETS_A_FLOW = 16  # in a block: with 16 bytes each, a block advances a sequence number by 256
FLOWS = 625
RECORD_BYTES = 16 + 14 + 20 + 20 + PAYLOAD_BYTES


def record(flow, at, flags=0x10):
    """One TCP packet of a flow, second 0; the low byte of its sequence number tells its place."""
    ip = struct.pack(">BBHHHBBH4sI", 0x45, 0, 40 + PAYLOAD_BYTES, 0, 0, 64, 6, 0, b"\x0a\x00\x00\x01", 0x0B000000 + flow // 60000)
    tcp = struct.pack(">HHIIBBHHH", 1024 + flow % 60000, 443, at * PAYLOAD_BYTES, 1, 0x50, flags, 1000, 0, 0)
    frame = b"\x02" * 6 + b"\x04" * 6 + b"\x08\x00" + ip + tcp + b"x" * PAYLOAD_BYTES
    return struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame


def steady(path, packets, flows):
    """`packets` in which `flows` conversations stay open from the first block to the last."""
    block = bytearray(b"".join(record(f, at) for at in range(PACKETS_A_FLOW) for f in range(flows)))
    count = len(block) // RECORD_BYTES
    with open(path, "wb") as out:
        out.write(HEADER)
        for number in range(packets // count):
            block[1::RECORD_BYTES] = bytes([number // 64 % 256]) * count  # time: 256 s each 64 blocks
            block[0::RECORD_BYTES] = bytes([number * 4 % 256]) * count
            for byte, shift in ((16 + 14 + 20 + 4, 16), (16 + 14 + 20 + 5, 8), (16 + 14 + 20 + 6, 0)):
                block[byte::RECORD_BYTES] = bytes([(number >> shift) & 0xFF]) * count
            out.write(block)


def many(path, flows):
    """As many conversations as packets."""
    with open(path, "wb") as out:
        out.write(HEADER)
        for flow in range(flows):
            out.write(record(flow, 0))


def run(pipeline):
    """CPU seconds, elapsed seconds and peak resident bytes of one run."""
    started = time.monotonic()
    child = subprocess.Popen([WEIR, "run", "-e", pipeline], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, pipeline
    return usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss * 1024


def idle_bytes():
    """Resident memory of a pipeline that waits for its first packet."""
    command = [WEIR, "run", "-e", 'pcap("-") | biflow | window(5m) by src.ip { n = count() } | blackhole']
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    child.stdin.write(HEADER)
    child.stdin.flush()
    time.sleep(1)
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    child.stdin.close()
    child.wait()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runs", type=int, default=3)
    runs = arguments.parse_args().runs
    missed = []

    def bar(name, value, unit, limit):
        held = value < limit
        print(f"{name:<52} {value:>10.1f} {unit:<10} bar {limit:g} {'' if held else 'MISSED'}")
        if not held:
            missed.append(name)

    with tempfile.TemporaryDirectory() as folder:
        flow = '| biflow(idle: none, idle_established: none, active: none) | blackhole'
        # What every run pays once (start, buffers touched for the first time, opening and giving out
        # the flows) is taken off by a run of one block.
        costs, peaks = {}, {}
        for packets in (10_000, 100_000, 1_000_000, 10_000_000):
            path = f"{folder}/steady.pcap"
            steady(path, packets, FLOWS)
            all_runs = [run(f'pcap("{path}") {flow}') for _ in range(runs if packets > 100_000 else 7 * runs)]
            costs[packets] = statistics.median(cpu for cpu, _, _ in all_runs)
            peaks[packets] = statistics.median(peak for _, _, peak in all_runs) / 2**20
            os.remove(path)
        once = costs.pop(10_000)
        net = {packets: (cost - once) / (packets - 10_000) * 1e9 for packets, cost in costs.items()}
        print(f"once: {once * 1e3:.1f} CPU ms")
        for packets, cost in net.items():
            print(f"{packets:>10} packets, {FLOWS} open flows: {cost:8.1f} CPU ns a packet, {peaks[packets]:6.1f} MiB")
        bar("cost a packet, 10 M to 1 M, off by", abs(net[10_000_000] / net[1_000_000] - 1) * 100, "%", 20)
        bar("cost a packet, 1 M to 100 k, off by", abs(net[1_000_000] / net[100_000] - 1) * 100, "%", 20)
        bar("memory, 10 M to 100 k packets, off by", abs(peaks[10_000_000] / peaks[100_000] - 1) * 100, "%", 20)

        few, lots, one = (f"{folder}/{name}.pcap" for name in ("few", "lots", "one"))
        many(few, 1_000)
        many(lots, 1_000_000)
        for name, meter in (("default timeouts", "| biflow | blackhole"), ("no timeouts", flow)):
            held = [run(f'settings(memory: 1GiB) pcap("{path}") {meter}')[2] for path in (few, lots)]
            bar(f"resident bytes a flow, 1 M open, {name}", (held[1] - held[0]) / 999_000, "bytes", 300)
        many(one, 1)
        first = statistics.median(run(f'pcap("{one}") | limit(1) | stdout(ndjson)')[1] for _ in range(10))
        bar("start to first packet, and end", first * 1e3, "ms", 100)
        bar("idle, resident", idle_bytes() / 2**20, "MiB", 20)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
