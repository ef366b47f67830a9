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

from measure import cpu_seconds, memory_kib, row, spread, start, stop

WEBHOOK = os.path.join(sys.argv[1], "apiserver-proxy-pod-webhook")
HERE = os.path.dirname(os.path.realpath(__file__))
REVIEW = os.path.join(HERE, "..", "testdata", "admission.json")
SECONDS = int(os.environ.get("SECONDS_LOAD", "10"))
PATH = "/webhook/pod-apiserver-env"
FLAGS = ["--apiserver-fqdn=foo.bar.", "--shutdown-delay=0"]
UNTRUSTING = ssl._create_unverified_context()


def post(body, port=9443):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=UNTRUSTING, timeout=60)
    try:
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def load(connections, **environment):
    """Requests, requests a second, p99 in ms, and failures of a run of wrk."""
    command = ["wrk", "-t2", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", os.path.join(HERE, "post.lua")]
    environment = {**os.environ, "REVIEW": REVIEW, **environment}
    command.append(f"https://127.0.0.1:9443{PATH}")
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
stop(process)
for at_once, wanted in ((16, "≤ 80 MB (Go: 227)"), (64, "≤ 100 MB")):
    row(f"3 MB reviews, {at_once} at once: peak memory", large_reviews(at_once), wanted)
row("cold start to the first good answer", spread([cold_start() for _ in range(20)]), "≤ 8 ms (Go: 22)")
for name, wanted in (("apiserver-proxy-pod-webhook", "≤ 8 MB (Go: 34)"), ("apiserver-proxy-sidecar", "")):
    row(f"{name}, stripped", f"{os.path.getsize(os.path.join(sys.argv[1], name)) / 1e6:.1f} MB", wanted)
