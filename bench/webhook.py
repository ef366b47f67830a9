"""The webhook's figures: bench/webhook.py FOLDER-WITH-BINARIES. Run by `make bench`, in namespaces of its own.

wrk posts testdata/admission.json over TLS from the same cores. SECONDS_LOAD in the environment shortens the runs.
"""

import concurrent.futures
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time

from measure import cpu_milliseconds, cpu_seconds, memory_kib, percentiles, row, spread, start, stop

WEBHOOK = os.path.join(sys.argv[1], "apiserver-proxy-pod-webhook")
BARE = os.path.join(sys.argv[1], "examples", "bare-server")
BARE_PORT = 9444
HERE = os.path.dirname(os.path.realpath(__file__))
REVIEW = os.path.join(HERE, "..", "testdata", "admission.json")
SECONDS = int(os.environ.get("SECONDS_LOAD", "10"))
PATH = "/webhook/pod-apiserver-env"
TURNS = 6
FLAGS = ["--apiserver-fqdn=foo.bar.", "--shutdown-delay=0"]
UNTRUSTING = ssl._create_unverified_context()


def answer(body, port=9443):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=UNTRUSTING, timeout=60)
    try:
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def post(body):
    return answer(body)[0]


def load(connections, port=9443, seconds=SECONDS, **environment):
    """Requests, requests a second, p99 in ms, and failures of a run of wrk."""
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", os.path.join(HERE, "post.lua")]
    environment = {**os.environ, "REVIEW": REVIEW, **environment}
    command.append(f"https://127.0.0.1:{port}{PATH}")
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    p99 = float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    failed = re.findall(r"Non-2xx.*?: (\d+)|Socket errors: (.*)", out)
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    return requests, float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), p99, failed


def cold_start():
    begun = time.monotonic()
    process = subprocess.Popen([WEBHOOK, *FLAGS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(REVIEW, "rb") as review:
        body = review.read()
    while True:
        try:
            assert post(body) == 200
            break
        except OSError:
            time.sleep(0.0002)
    taken = (time.monotonic() - begun) * 1000
    stop(process)
    return taken


def one_turn(server, port):
    """µs of CPU a request, requests a second, and new connections a second."""
    seconds = max(1, SECONDS // 5)
    before = cpu_milliseconds(server.pid)
    requests, rate, _, failed = load(16, port, seconds)
    used = (cpu_milliseconds(server.pid) - before) / requests * 1000
    _, fresh, _, failed_fresh = load(16, port, seconds, CLOSE="1")
    assert not failed and not failed_fresh, (port, failed, failed_fresh)
    return used, rate, fresh


def against_bare(process):
    """The webhook beside a server that parses nothing: in turns, since what else the machine does comes and goes."""
    with open(REVIEW, "rb") as review:
        said = answer(review.read())[1].decode()
    bare, _ = start([BARE, str(BARE_PORT), said], "serving")
    turns = [(one_turn(process, 9443), one_turn(bare, BARE_PORT)) for _ in range(TURNS)]
    bare.kill()
    bare.communicate()
    ours, theirs = ([turn[which][0] for turn in turns] for which in (0, 1))
    row("beside a bare server: CPU a request, ours", spread(ours, " µs"))
    row("beside a bare server: CPU a request, its", spread(theirs, " µs"))
    row("its CPU a request / ours", spread([its[0] / our[0] for our, its in turns], "", 2), "≥ 0.8")
    row("our requests a second / its", spread([our[1] / its[1] for our, its in turns], "", 2))
    row("our new connections a second / its", spread([our[2] / its[2] for our, its in turns], "", 2))


def large_reviews(at_once):
    with open(REVIEW) as review:
        review = json.load(review)
    review["request"]["object"]["metadata"]["annotations"] = {f"a{n}": "x" * 1000 for n in range(3000)}
    body = json.dumps(review).encode()
    process, _ = start([WEBHOOK, *FLAGS], "] serving")
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        statuses = list(pool.map(lambda _: post(body), range(at_once * 4)))
    peak = memory_kib(process.pid, "VmHWM") / 1024
    stop(process)
    answered = ", ".join(f"{statuses.count(status)} × {status}" for status in sorted(set(statuses)))
    return f"{peak:.0f} MB ({answered})"


def beside_slow_clients():
    process, _ = start([WEBHOOK, *FLAGS], "] serving")
    command = [sys.executable, os.path.join(HERE, "slow.py"), "9443", PATH, REVIEW, str(SECONDS)]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    stop(process)
    row(f"100 requests a second beside {seen['crowd']} slow clients", percentiles(seen["took"]), "p99 ≤ 50 ms")
    row("failed", str(seen["failed"]))


process, _ = start([WEBHOOK, *FLAGS], "] serving")
row("resident memory idle", f"{memory_kib(process.pid) / 1024:.1f} MB", "≤ 6 (Go: 27)")
before = cpu_seconds(process.pid)
requests, rate, p99, failed = load(16)
used = (cpu_seconds(process.pid) - before) / requests * 1e6
row("server CPU a request, 16 connections kept alive", f"{used:.1f} µs", "≤ 23 (Go: 113)")
row("requests a second, wrk on the same two cores", f"{rate:,.0f}", "≥ 40,000 (Go: 15,000)")
row("p99", f"{p99:.2f} ms", "≤ 3 (Go: 27)")
row("failed", str(failed or 0))
row("resident memory after that", f"{memory_kib(process.pid) / 1024:.1f} MB", "≤ 12 (Go: 37)")
requests, rate, p99, failed = load(16, CLOSE="1")
row("a new connection a request, a second", f"{rate:,.0f}", "≥ 1.5 × Go's 2,700")
row("failed", str(failed or 0))
against_bare(process)
stop(process)
for at_once, wanted in ((16, "≤ 80 MB (Go: 227)"), (64, "≤ 100 MB")):
    row(f"3 MB reviews, {at_once} at once: peak memory", large_reviews(at_once), wanted)
beside_slow_clients()
row("cold start to the first good answer", spread([cold_start() for _ in range(20)]), "≤ 8 ms (Go: 22)")
for name, wanted in (("apiserver-proxy-pod-webhook", "≤ 8 MB (Go: 34)"), ("apiserver-proxy-sidecar", "")):
    row(f"{name}, stripped", f"{os.path.getsize(os.path.join(sys.argv[1], name)) / 1e6:.1f} MB", wanted)
