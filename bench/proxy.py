"""The proxy beside others: bench/proxy.py FOLDER-WITH-BINARIES ENVOY. Run by `make bench`, in namespaces of its own.

Peers take short turns one after the other, since what else the machine does comes and goes; a figure is the median of
its turns, a ratio that of the turns' ratios to the best peer. All load comes from the same cores. TURNS and SECONDS in
the environment lengthen or shorten it, ROWS (such as requests,memory) leaves rows out. The plot goes to
docs/proxy-bench.svg.
"""

import contextlib
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time

from measure import cpu_milliseconds, row
from peers import Process, Setup
from plot import plot

TURNS = int(os.environ.get("TURNS", "7"))
SECONDS = int(os.environ.get("SECONDS", "2"))
ROWS = set(filter(None, os.environ.get("ROWS", "").split(",")))
HERE = os.path.dirname(os.path.realpath(__file__))
UPSTREAM = 19999
DIRECT = "direct"
ORDER = ["ours", "haproxy", "nginx", "envoy", DIRECT]


def cpu(proxy):
    return sum(cpu_milliseconds(pid) for pid in proxy.pids()) / 1000


def proportional_mb(proxy):
    """Memory, what processes share counted in parts (Pss of smaps_rollup)."""
    total = 0
    for pid in proxy.pids():
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def table(what, turns, digits, wanted, more_is_better=True):
    """One row of medians, and ours over the best peer's, turn by turn."""
    medians = {name: statistics.median(turn[name] for turn in turns) for name in ORDER if name in turns[0]}
    best = max if more_is_better else min
    ratios = [turn["ours"] / (best(turn[name] for name in ORDER[1:4]) or 1e-9) for turn in turns]
    shown = "  ".join(f"{name} {value:,.{digits}f}" for name, value in medians.items())
    row(what, shown, f"ours / best {statistics.median(ratios):.2f}, wanted {wanted}")
    return medians


def in_turns(measure, proxies, direct):
    """Measures each proxy, and without any, again and again: by turn and by figure, what each one gave."""
    turns = []
    for turn in range(TURNS):
        names = [*proxies, *([DIRECT] if direct else [])]
        shift = turn % len(names)
        seen = {}
        for name in names[shift:] + names[:shift]:
            proxy = proxies.get(name)
            before = cpu(proxy) if proxy else 0
            figures = measure(proxy.port if proxy else UPSTREAM)
            figures["cpu"] = (cpu(proxy) - before if proxy else 0) / figures.pop("work")
            seen[name] = figures
        turns.append(seen)
    return {figure: [{name: turn[name][figure] for name in turn} for turn in turns] for figure in turns[0]["ours"]}


def without_direct(turns):
    return [{name: value for name, value in turn.items() if name != DIRECT} for turn in turns]


@contextlib.contextmanager
def before(setup, upstream):
    """The proxies in front of an upstream that has been started."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(upstream)
        proxies = map(stack.enter_context, setup.all(UPSTREAM))
        yield {proxy.name: proxy for proxy in proxies}


def iperf(connections):
    def measure(port):
        command = ["iperf3", "-c", "127.0.0.1", "-p", str(port), "-P", str(connections), "-t", str(SECONDS), "-J"]
        for _ in range(20):
            out = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
            if "error" not in out:
                break
            # The server takes one test at a time, and ends one a moment after its client.
            time.sleep(0.1)
        received = out["end"]["sum_received"]
        return {"Gbit/s": received["bits_per_second"] / 1e9, "work": received["bytes"] / 1e9}
    return measure


def bulk(setup, connections):
    def measure(port):
        command = [setup.bulk, "send", f"127.0.0.1:{port}", str(connections), str(SECONDS)]
        begun = time.monotonic()
        rate = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return {"Gbit/s": rate / 1e9, "work": rate / 8e9 * (time.monotonic() - begun)}
    return measure


def requests(connections, close=False):
    def measure(port):
        command = ["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{SECONDS}s", "--latency", f"http://127.0.0.1:{port}/"]
        if close:
            command += ["-H", "Connection: close"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
        failed = re.findall(r"Non-2xx.*?: (\d+)|Socket errors: (.*)", out)
        if failed:
            print(f"port {port}: {failed}", file=sys.stderr)
        return {
            "a second": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            "p99": float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
            "work": int(re.search(r"(\d+) requests in", out).group(1)) / 10_000,
        }
    return measure


def rows_of_iperf(setup):
    command = ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(UPSTREAM)]
    with before(setup, Process("iperf3", command, UPSTREAM)) as proxies:
        for connections in (1, 16):
            seen = in_turns(iperf(connections), proxies, True)
            table(f"iperf3, {connections} connections: Gbit/s", seen["Gbit/s"], 1, "≥ 1.0")
            table("  CPU s a GB", without_direct(seen["cpu"]), 3, "≤ 1", False)


def rows_of_bulk(setup):
    command = [setup.bulk, "receive", f"127.0.0.1:{UPSTREAM}"]
    with before(setup, Process("bulk", command, UPSTREAM)) as proxies:
        for connections in (1, 16):
            seen = in_turns(bulk(setup, connections), proxies, True)
            table(f"ends that copy nothing, {connections} connections: Gbit/s", seen["Gbit/s"], 1, "≥ 1.1")
            table("  CPU s a GB", without_direct(seen["cpu"]), 3, "≤ 1", False)


def rows_of_requests(setup):
    with before(setup, setup.server(UPSTREAM)) as proxies:
        seen = in_turns(requests(64), proxies, True)
        table("requests kept alive, 64 connections: a second", seen["a second"], 0, "≥ 1.1")
        table("  p99 ms", seen["p99"], 2, "≤ 1", False)
        table("  CPU s for 10,000", without_direct(seen["cpu"]), 3, "≤ 1", False)


def rows_of_connections(setup):
    with before(setup, setup.server(UPSTREAM)) as proxies:
        seen = in_turns(requests(64, close=True), proxies, True)
        table("new connections a second", seen["a second"], 0, "≥ 1.1")
        table("  p99 ms", seen["p99"], 2, "≤ 1", False)
        table("  CPU s for 10,000", without_direct(seen["cpu"]), 3, "≤ 1", False)


class Silent(threading.Thread):
    """Accepts, keeps and says nothing."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.kept = []
        self.start()

    def close(self):
        self.forget()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                one = self.listener.accept()[0]
                self.kept.append(one)

    def forget(self):
        kept, self.kept = self.kept, []
        for one in kept:
            one.close()


def rows_of_memory(setup):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    # Two descriptors a pair in the proxy, and two here.
    pairs = min(10_000, limit // 2 - 200)
    silent = Silent(UPSTREAM)
    empty, full = {}, {}
    for proxy in setup.all(UPSTREAM):
        name = proxy.name
        with proxy:
            empty[name] = proportional_mb(proxy)
            clients = []
            for _ in range(pairs):
                clients.append(socket.create_connection(("127.0.0.1", proxy.port)))
                while len(clients) - len(silent.kept) > 500:
                    time.sleep(0.001)
            deadline = time.monotonic() + 20
            while len(silent.kept) < pairs and time.monotonic() < deadline:
                time.sleep(0.01)
            if len(silent.kept) < pairs:
                print(f"{name}: {len(silent.kept)} of {pairs} pairs", file=sys.stderr)
            full[name] = proportional_mb(proxy)
            for client in clients:
                client.close()
            silent.forget()
            time.sleep(0.5)
            silent.forget()
    silent.close()
    table("memory, empty: MB", [empty], 1, "≤ 5 MB for ours", False)
    table(f"memory, {pairs:,} idle pairs: MB", [full], 1, "≤ 0.5", False)
    size = os.path.getsize(setup.binary) / 1e6
    row("stripped static binary", f"{size:.1f} MB", "wanted ≤ 6 MB")


def dial(port):
    """Whether a connection comes to an answer within half a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as client:
            client.settimeout(0.5)
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(client.recv(100))
    except OSError:
        return False


def away(port, until):
    """Milliseconds from now to the last dial that failed, dialled every 5 ms for a while."""
    begun, last, failed = time.monotonic(), 0.0, 0
    while time.monotonic() - begun < until:
        if not dial(port):
            failed += 1
            last = (time.monotonic() - begun) * 1000
        time.sleep(0.005)
    return last, failed


def rows_of_failover(setup):
    other = UPSTREAM - 1
    for what, wanted in (("killed", "≤ 50 ms"), ("black-holed", "≤ 2,000 ms")):
        times = []
        for _ in range(min(TURNS, 3)):
            with setup.server(other):
                gone = setup.server(UPSTREAM)
                proxy = setup.ours(20000, [UPSTREAM, other], "--health-interval=1s", "--health-timeout=1s")
                with gone, proxy:
                    time.sleep(1.5)
                    if what == "killed":
                        for pid in gone.pids():
                            os.kill(pid, 9)
                    else:
                        subprocess.run(["iptables", "-I", "INPUT", "-p", "tcp", "--dport", str(UPSTREAM), "-j", "DROP"],
                                       check=True)
                    try:
                        times.append(away(20000, 4))
                    finally:
                        if what != "killed":
                            subprocess.run(["iptables", "-F", "INPUT"], check=True)
        last = statistics.median(last for last, _ in times)
        row(f"endpoint {what}: new connections fail for", f"{last:.0f} ms, failed {[failed for _, failed in times]}",
            f"wanted {wanted}")


def draw(setup):
    """Requests and their p99 over connections."""
    counts = [1, 4, 16, 64, 256]
    rates, latencies = ({name: [] for name in ORDER} for _ in range(2))
    with before(setup, setup.server(UPSTREAM)) as proxies:
        for count in counts:
            seen = in_turns(requests(count), proxies, True)
            for name in ORDER:
                rates[name].append(statistics.median(turn[name] for turn in seen["a second"]))
                latencies[name].append(statistics.median(turn[name] for turn in seen["p99"]))
    path = os.path.join(HERE, "..", "docs", "proxy-bench.svg")
    plot(path, counts, [("requests a second", rates, False), ("p99 in ms", latencies, True)])
    for name in ORDER:
        row(f"plot, {'/'.join(map(str, counts))} connections: {name}",
            " ".join(f"{rate:,.0f}" for rate in rates[name]), "p99 " + " ".join(f"{p99:.2f}" for p99 in latencies[name]))


if __name__ == "__main__":
    for setting in ("net.ipv4.ip_local_port_range=10000 60999", "net.ipv4.ip_local_reserved_ports=19990-20010"):
        subprocess.run(["sysctl", "-q", "-w", setting], check=True)
    with contextlib.closing(Setup(sys.argv[1], sys.argv[2])) as everything:
        for name, measure in (("iperf", rows_of_iperf), ("bulk", rows_of_bulk), ("requests", rows_of_requests),
                              ("connections", rows_of_connections), ("memory", rows_of_memory),
                              ("failover", rows_of_failover), ("plot", draw)):
            if not ROWS or name in ROWS:
                measure(everything)
