#!/usr/bin/env python3
"""What a DogStatsD line costs: benches/dogstatsd.py [LINES_A_SECOND]

Builds the load (Go and a C compiler are needed), then sends it over UDP and a unix datagram socket to weir
with 10,000 and 250,000 contexts, to a bare receiver, and to netdata where it is installed
(`apt-get install netdata-core`). Everything in one run; ratios are what counts.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
LOAD = HERE / "dogstatsd/load"
BUILD = ROOT / "target/dogstatsd"
WEIR = ROOT / "target/release/weir"
PORT = 18125
TICKS = os.sysconf("SC_CLK_TCK")


def build():
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cargo", "build", "--release", "-q"], cwd=ROOT, check=True)
    subprocess.run(["go", "build", "-o", f"{BUILD}/", "./..."], cwd=LOAD, check=True)
    subprocess.run(["cc", "-O2", "-o", BUILD / "floor", LOAD / "floor/dsdfloor.c"], check=True)
    for contexts in (10_000, 250_000):
        name = BUILD / f"w1-{contexts}"
        if not pathlib.Path(f"{name}.dsd").exists():
            subprocess.run([BUILD / "dsdgen", "-contexts", str(contexts), "-lines", "1000000", "-out", name], check=True)


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024


def measure(name, command, contexts, to, rate):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2)
    before = cpu(process.pid)
    begun = time.monotonic()
    send = [BUILD / "dsdsend", "-file", BUILD / f"w1-{contexts}.dsd", "-to", to]
    subprocess.run(send + (["-rate", str(rate)] if rate else []), capture_output=True, check=True)
    # The last interval is given out in this time, too.
    time.sleep(1)
    used, memory, took = cpu(process.pid) - before, resident(process.pid), time.monotonic() - begun - 1
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
    print(f"{name:24} {contexts:7} contexts  {used:5.2f} CPU s/M lines  {memory:6.1f} MiB  sent in {took:.1f} s", flush=True)
    return used


def weir(listen, contexts, rate, name, directory):
    pipeline = (
        f'let d = dogstatsd(listen: ["{listen}"])\n'
        f"d.metrics | aggregate(10s, contexts_max: 1000000) | blackhole"
    )
    ledger = pathlib.Path(directory) / "ledger.json"
    to = listen
    used = measure(name, [WEIR, "run", "-e", pipeline, "--ledger", ledger], contexts, to, rate)
    source = json.loads(ledger.read_text())["components"][0]
    read, lost = source["noted"].get("lines", 0), source["dropped"].get("kernel", 0)
    print(f"{'':24} read {read} lines, {lost} datagrams dropped by the kernel", flush=True)
    return used


def netdata(directory, rate):
    config = pathlib.Path(directory) / "netdata"
    config.mkdir()
    (config / "netdata.conf").write_text(
        "[global]\nhostname = bench\n[db]\nmode = ram\n[web]\nmode = none\n[ml]\nenabled = no\n"
        "[plugins]\n" + "".join(f"{p} = no\n" for p in
        "proc diskspace cgroups tc idlejitter timex go.d charts.d python.d ebpf apps network-viewer profile logs-management freeipmi nfacct perf slabinfo ioping systemd-journal debugfs loops".split())
        + f"statsd = yes\n[statsd]\nenabled = yes\nbind to = udp:127.0.0.1:{PORT}\n"
    )
    command = ["netdata", "-D", "-c", config / "netdata.conf", "-u", "root"]
    return measure("netdata", command, 10_000, f"udp://127.0.0.1:{PORT}", rate)


def main():
    rate = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    build()
    with tempfile.TemporaryDirectory() as directory:
        udp = f"udp://127.0.0.1:{PORT}"
        floor = measure("bare recv", [BUILD / "floor", str(PORT), "1", "4194304"], 10_000, udp, rate)
        ours = weir(udp, 10_000, rate, "weir, UDP", directory)
        many = weir(udp, 250_000, rate, "weir, UDP", directory)
        weir(f"unixgram://{directory}/socket", 10_000, rate, "weir, unix datagrams", directory)
        print(f"weir / bare recv: {ours / floor:.2f} (bar 3)")
        print(f"250,000 contexts / 10,000: {many / ours:.2f} (bar 2)")
        if shutil.which("netdata"):
            theirs = netdata(directory, rate)
            print(f"weir / netdata: {ours / theirs:.2f} (bar 0.5)")
        else:
            print("netdata is not installed: not measured")


main()
