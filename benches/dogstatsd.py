#!/usr/bin/env python3
"""What a DogStatsD line costs, how fast they may come, and how long one takes: benches/dogstatsd.py [ROUNDS]

Builds the load (Go and a C compiler are needed) and puts weir beside a receiver that only counts lines and,
where benches/peers/dogstatsd.sh has installed them, beside netdata, the original statsd and statsd_exporter.
Everything in one run, the measurements of a round one after the other; ratios of the medians are what counts.
"""

import functools
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
LOAD = HERE / "dogstatsd/load"
BUILD = ROOT / "target/dogstatsd"
PEERS = BUILD / "peers"
WEIR = ROOT / "target/release/weir"
PORT = 18125
UDP = f"udp://127.0.0.1:{PORT}"
TICKS = os.sysconf("SC_CLK_TCK")
MILLION = 1_000_000
# Lines a second at which costs are compared over UDP, and how unix sockets are sent to: as fast as they take it. Both
# as the load's README has it.
RATE = 100_000
UNPACED = 0
# Intervals begin at multiples of ten seconds. Sending begins just behind one, and what is used is asked for when the
# interval has been given out: every run has one of it, as ten seconds of a long run have.
INTERVAL_SECONDS = 10
BEHIND_SECONDS = 0.3
GIVEN_OUT_SECONDS = 1.2
# A run in which more of the datagrams are lost says little of what reading them costs, and is made again.
LOST_MAX = 0.05
TRIES = 3
# Lines a second among which the knee is looked for.
RATES = [300_000, 450_000, 600_000, 750_000, 900_000, 1_100_000, 1_300_000, 1_500_000]


def build():
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cargo", "build", "--release", "-q"], cwd=ROOT, check=True)
    subprocess.run(["go", "build", "-o", f"{BUILD}/", "./..."], cwd=LOAD, check=True)
    subprocess.run(["cc", "-O2", "-o", BUILD / "floor", LOAD / "floor/dsdfloor.c"], check=True)
    for contexts in (10_000, 250_000):
        name = BUILD / f"w1-{contexts}"
        if not pathlib.Path(f"{name}.dsd").exists():
            subprocess.run([BUILD / "dsdgen", "-contexts", str(contexts), "-lines", str(MILLION), "-out", name], check=True)
    single = BUILD / "single.dsd"
    if not single.exists():
        single.write_bytes(one_line_each((BUILD / "w1-10000.dsd").read_bytes(), 400_000))


def one_line_each(load, lines):
    """The first lines of a load, each in a datagram of its own."""
    out, at = bytearray(), 0
    while lines > 0:
        (length,) = struct.unpack_from("<I", load, at)
        for line in load[at + 4 : at + 4 + length].split(b"\n")[: max(lines, 0)]:
            if line:
                out += struct.pack("<I", len(line)) + line
                lines -= 1
        at += 4 + length
    return bytes(out)


class Server:
    """A program that is sent to, and what it uses meanwhile."""

    def __init__(self, command, out=subprocess.DEVNULL):
        self.process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.DEVNULL)
        time.sleep(2)

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def send(load, to, rate, passes=1, untagged=False):
    """Sends a load, all of it; how long that took, in seconds."""
    command = [BUILD / "dsdsend", "-file", BUILD / f"{load}.dsd", "-to", to, "-rate", str(rate), "-passes", str(passes)]
    sent = subprocess.run(command + (["-untagged"] if untagged else []), capture_output=True, check=True)
    report = json.loads(sent.stdout)
    if report["errors"] or report["refused"]:
        print(f"  not sent: {report['errors']} errors, {report['refused']} refused", flush=True)
    return report["seconds"]


def dropped():
    """Datagrams that the kernel has dropped at the port, because nobody read them in time."""
    tables = [pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("udp", "udp6")]
    sockets = [line.split() for line in sum(tables, [])]
    return sum(int(socket[-1]) for socket in sockets if socket[1].endswith(f":{PORT:04X}"))


@functools.cache
def datagrams(load):
    """How many a load has."""
    loaded, at, count = (BUILD / f"{load}.dsd").read_bytes(), 0, 0
    while at < len(loaded):
        at, count = at + 4 + struct.unpack_from("<I", loaded, at)[0], count + 1
    return count


def unqueued():
    """Datagrams that statsd_exporter took from its socket and had no room for."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT + 1}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return 0
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("statsd_exporter_udp_packet_drops_total"))


def cost(command, load, to=UDP, rate=RATE, untagged=False):
    """CPU seconds for as many lines as were sent, with the interval given out that they are in, and MiB. What a server
    did not read was not read for nothing: its seconds are of what it read."""
    for left in reversed(range(TRIES)):
        server = Server(command)
        begin = (time.time() // INTERVAL_SECONDS + 1) * INTERVAL_SECONDS
        time.sleep(begin + BEHIND_SECONDS - time.time())
        before = server.cpu()
        send(load, to, rate, untagged=untagged)
        time.sleep(max(0, begin + INTERVAL_SECONDS + GIVEN_OUT_SECONDS - time.time()))
        used, memory = server.cpu() - before, server.resident()
        lost = (dropped() + unqueued()) / datagrams(load)
        server.stop()
        if lost > 0:
            print(f"  {pathlib.Path(command[0]).name} did not read {lost:.1%} of the datagrams", flush=True)
        if lost <= LOST_MAX or left == 0:
            return used / max(1 - lost, 0.01), memory


def weir(directory, listen=UDP, rest="aggregate(10s) | blackhole"):
    pipeline = f'let d = dogstatsd(listen: ["{listen}"])\nd.metrics | {rest}'
    return [WEIR, "run", "-e", pipeline, "--ledger", directory / "ledger.json"]


def ledger(directory):
    """Lines read, and datagrams that the kernel dropped. What `aggregate` drops would make it cheaper, and is told."""
    source, aggregate = json.loads((directory / "ledger.json").read_text())["components"][:2]
    if aggregate["dropped"]:
        print(f"  aggregate dropped {aggregate['dropped']}", flush=True)
    return source["noted"].get("lines", 0), source["dropped"].get("kernel", 0)


def weir_cost(directory, load, listen=UDP, rate=RATE, lines=MILLION):
    result = cost(weir(directory, listen), load, listen, rate)
    read, lost = ledger(directory)
    if read != lines:
        print(f"  weir read {read} of {lines} lines, the kernel dropped {lost} datagrams", flush=True)
    return result


def netdata(directory):
    config = directory / "netdata"
    config.mkdir(exist_ok=True)
    plugins = (
        "proc diskspace cgroups tc idlejitter timex go.d charts.d python.d ebpf apps network-viewer profile "
        "logs-management freeipmi nfacct perf slabinfo ioping systemd-journal debugfs loops"
    )
    (config / "netdata.conf").write_text(
        "[global]\nhostname = bench\n[db]\nmode = ram\n[web]\nmode = none\n[ml]\nenabled = no\n[plugins]\n"
        + "".join(f"{plugin} = no\n" for plugin in plugins.split())
        + f"statsd = yes\n[statsd]\nenabled = yes\nbind to = udp:127.0.0.1:{PORT}\n"
    )
    return ["netdata", "-D", "-c", config / "netdata.conf", "-u", "root"]


def statsd(directory):
    config = directory / "statsd.js"
    config.write_text(f"{{ address: '127.0.0.1', port: {PORT}, mgmt_port: {PORT + 2}, backends: [], flushInterval: 10000 }}")
    return ["node", PEERS / "node_modules/statsd/stats.js", config]


def statsd_exporter(udp, unixgram):
    listen = [f"--statsd.listen-udp={udp}", f"--statsd.listen-unixgram={unixgram}", "--statsd.listen-tcp="]
    return [PEERS / "statsd_exporter", *listen, f"--web.listen-address=127.0.0.1:{PORT + 1}", "--log.level=error"]


def costs(directory, rounds):
    def floor(listen):
        return [BUILD / "floor", listen, 1, 4194304]

    path = directory / "socket"
    unixgram = f"unixgram://{path}"
    runs = {
        "bare receive": lambda: cost(floor(PORT), "w1-10000"),
        "weir": lambda: weir_cost(directory, "w1-10000"),
        "weir, 250,000 contexts": lambda: weir_cost(directory, "w1-250000"),
        "bare receive, unix": lambda: cost(floor(path), "w1-10000", unixgram, UNPACED),
        "weir, unix": lambda: weir_cost(directory, "w1-10000", unixgram, UNPACED),
        "bare receive, unix, paced": lambda: cost(floor(path), "w1-10000", unixgram),
        "weir, unix, paced": lambda: weir_cost(directory, "w1-10000", unixgram),
    }
    if shutil.which("netdata"):
        runs["netdata"] = lambda: cost(netdata(directory), "w1-10000")
    if (PEERS / "node_modules/statsd").exists():
        runs["statsd, tags in names"] = lambda: cost(statsd(directory), "w1-10000", untagged=True)
    if (PEERS / "statsd_exporter").exists():
        udp = f"127.0.0.1:{PORT}"
        runs["statsd_exporter"] = lambda: cost(statsd_exporter(udp, ""), "w1-10000")
        runs["statsd_exporter, unix"] = lambda: cost(statsd_exporter("", path), "w1-10000", unixgram, UNPACED)
        runs["statsd_exporter, unix, paced"] = lambda: cost(statsd_exporter("", path), "w1-10000", unixgram)
    results = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    print(
        f"CPU seconds for a million lines, at {RATE:,} a second over UDP and where paced, over unix sockets otherwise as "
        f"fast as they take them; medians of {rounds}; MiB at most"
    )
    medians = {}
    for name, taken in results.items():
        medians[name] = statistics.median(used for used, _ in taken)
        each = ", ".join(f"{used:.2f}" for used, _ in taken)
        print(f"  {name:28} {medians[name]:6.2f}  ({each})  {max(memory for _, memory in taken):7.1f} MiB")
    compare(medians, "weir", "bare receive", 3)
    compare(medians, "weir, 250,000 contexts", "weir", 2)
    compare(medians, "weir", "netdata", 1 / 2)
    compare(medians, "weir", "statsd, tags in names", 1 / 8)
    compare(medians, "weir", "statsd_exporter", 1 / 8)
    # Of the peers, this one alone reads such sockets.
    compare(medians, "weir, unix", "bare receive, unix", 3)
    compare(medians, "weir, unix", "statsd_exporter, unix", 1 / 8)
    compare(medians, "weir, unix, paced", "bare receive, unix, paced", 3)
    compare(medians, "weir, unix, paced", "statsd_exporter, unix, paced", 1 / 8)


def compare(medians, ours, other, bar):
    if other in medians:
        print(f"{ours} / {other}: {medians[ours] / medians[other]:.3f} (bar {bar})")
    else:
        print(f"{other} is not installed: not measured")


def singles(directory):
    bare, _ = cost([BUILD / "floor", PORT, 1, 4194304], "single", rate=50_000)
    ours, _ = weir_cost(directory, "single", rate=50_000, lines=400_000)
    print(f"one line a datagram: weir {ours:.2f}, bare receive {bare:.2f} CPU s; {ours / bare:.2f} times (bar 2)", flush=True)


def is_borne(directory, rate):
    """Whether nothing is lost of five million lines; how fast they really went out."""
    server = Server(weir(directory))
    took = send("w1-10000", UDP, rate, passes=5)
    time.sleep(0.5)
    server.stop()
    read, lost = ledger(directory)
    return lost == 0 and read == 5 * MILLION, 5 * MILLION / took


def knee(directory):
    last = 0
    for rate in RATES:
        borne, sent = is_borne(directory, rate)
        print(f"  {sent:9,.0f} lines a second: {'nothing lost' if borne else 'datagrams dropped'}", flush=True)
        if not borne:
            break
        last = sent
    print(f"knee: above {last:,.0f} lines a second (bar 300,000)")
    return last


def latency(directory, rate):
    """From sending a line to its row behind `aggregate`. Lines with a time of their own pass its buckets, so
    that their rows can be seen at once; everything before that is the way of all lines."""
    server = Server(
        weir(directory, rest='aggregate(10s) | where name == "probe" | stdout(ndjson)'), out=subprocess.PIPE
    )
    sent, seen = {}, {}

    def watch():
        for line in server.process.stdout:
            row = json.loads(line)
            seen[int(row["value"])] = time.monotonic()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    load = threading.Thread(target=send, args=("w1-10000", UDP, rate), kwargs={"passes": max(1, round(rate * 6 / MILLION))})
    load.start()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number = 0
    while load.is_alive():
        number += 1
        sent[number] = time.monotonic()
        client.sendto(f"probe:{number}|g|T{int(time.time())}".encode(), ("127.0.0.1", PORT))
        time.sleep(0.005)
    time.sleep(1)
    server.stop()
    watcher.join(timeout=10)
    took = sorted(seen[n] - sent[n] for n in sent if n in seen)
    at = lambda part: took[min(len(took) - 1, int(len(took) * part))] * 1000
    print(
        f"latency at {rate:,.0f} lines a second, {len(took)} of {number} probes: "
        f"median {at(0.5):.1f} ms, 99th percentile {at(0.99):.1f} ms (bar 50), longest {took[-1] * 1000:.1f} ms"
    )


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    build()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        costs(directory, rounds)
        singles(directory)
        latency(directory, knee(directory) / 2)


main()
