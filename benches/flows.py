#!/usr/bin/env python3
"""Bars of flows from the kernel: what the hooks cost, by the kernel's own account, and what weir itself takes.

    cargo build --release && sudo python3 benches/flows.py

Prints what was measured beside its bar; exits with 1 if one is missed. A cost a packet is given with what the
kernel measures of a program that does nothing, in the same run: measuring costs as well.
"""

import json
import os
import pathlib
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time

WEIR = str(pathlib.Path(__file__).parent.parent / "target/release/weir")
RUNS = 3
CONNECTIONS_A_SECOND = 1000
SECONDS = 20
OPEN_SOCKETS = 20_000
TICK = os.sysconf("SC_CLK_TCK")

missed = []


def bar(what, value, unit, most):
    print(f"{what:<58} {value:>9.2f} {unit:<3} (bar {most:g})", flush=True)
    if value > most:
        missed.append(what)


def hooks():
    """Medians of what `weir bench ebpf` says."""
    runs = []
    for _ in range(RUNS):
        out = subprocess.run([WEIR, "bench", "ebpf", "--json"], check=True, capture_output=True, text=True).stdout
        runs.append({line["what"]: line["nanoseconds"] for line in map(json.loads, out.splitlines())})
    return {what: statistics.median(run[what] for run in runs) for what in runs[0]}


class Weir:
    def __init__(self, pipeline):
        self.process = subprocess.Popen([WEIR, "run", "-e", pipeline], stderr=subprocess.DEVNULL)
        time.sleep(1.5)

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident_mib(self):
        lines = open(f"/proc/{self.process.pid}/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait() == 0


def server():
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    return listening, listening.getsockname()


def connect(listening, address, number, pace):
    begun = time.monotonic()
    for at in range(number):
        client = socket.create_connection(address)
        accepted, _ = listening.accept()
        client.sendall(b"hello")
        accepted.recv(5)
        client.close()
        accepted.close()
        late = begun + (at + 1) / pace - time.monotonic()
        if late > 0:
            time.sleep(late)


def main():
    costs = hooks()
    nothing = costs["the same for a program that does nothing"]
    print(f"a program that does nothing: {nothing:.1f} ns a packet, medians of {RUNS}")
    for way in ("comes", "goes"):
        bar(f"a packet of TCP that {way}, above that", costs[f"a packet of TCP that {way}"] - nothing, "ns", 60)
        bar(f"a packet of UDP that {way}, above that", costs[f"a packet of UDP that {way}"] - nothing, "ns", 200)
    bar("a TCP socket's life, with what measuring costs", costs["a TCP socket, from its opening to its end"] / 1e3, "us", 1.5)

    listening, address = server()
    weir = Weir("ebpf(5s) | pair(5s) | blackhole")
    before = weir.cpu()
    connect(listening, address, CONNECTIONS_A_SECOND * SECONDS, CONNECTIONS_A_SECOND)
    time.sleep(1)
    used = weir.cpu() - before
    bar(f"of a core at {CONNECTIONS_A_SECOND} connections a second", 100 * used / SECONDS, "%", 1)
    weir.stop()

    # Both halves are held by processes of their own: files are limited.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    accepting = os.fork()
    if accepting == 0:
        held = [listening.accept()[0] for _ in range(OPEN_SOCKETS // 2)]
        signal.pause()
    held = [socket.create_connection(address) for _ in range(OPEN_SOCKETS // 2)]
    costs = hooks()
    snapshot = costs["an open TCP socket, at the end of an interval"] * 18_000 / 1e6
    bar(f"18,000 of {OPEN_SOCKETS} open sockets in a snapshot", snapshot, "ms", 40)
    start = costs["to load and attach everything"] + costs["to find the sockets that were open before"]
    bar(f"to start, with {OPEN_SOCKETS} open sockets", start / 1e6, "ms", 200)
    weir = Weir("ebpf(2s) | blackhole")
    for _ in range(3):
        for connection in held:
            connection.send(b"x")
        time.sleep(2)
    bar(f"resident with {OPEN_SOCKETS} open sockets that all send", weir.resident_mib(), "MiB", 40)
    weir.stop()
    os.kill(accepting, signal.SIGKILL)
    if missed:
        sys.exit("missed: " + ", ".join(missed))


main()
