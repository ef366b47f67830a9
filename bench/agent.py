"""The agent's figures: bench/agent.py FOLDER-WITH-BINARIES. Run by `make bench`, in namespaces of its own.

The Go sidecar is not at hand, so its one-shot is stood in for by the iptables programs that it starts: one for the
version, then for each rule a check and an insert, one after the other, from a shell. That leaves out its own work.
SECONDS_LONG in the environment shortens the long run.
"""

import os
import subprocess
import sys
import tempfile
import time

from measure import cpu_seconds, memory_kib, milliseconds, row, spread, start, stop

AGENT = os.path.join(sys.argv[1], "apiserver-proxy-sidecar")
SECONDS = int(os.environ.get("SECONDS_LONG", "60"))
ADDRESS = "10.96.0.2"


def sh(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


def flush(variant):
    sh(f"ip addr del {ADDRESS}/32 dev lo || true; iptables-{variant} -F; iptables-{variant} -t raw -F")


def peer(variant):
    """The processes of the Go sidecar's one-shot."""
    rules = [
        f"raw {{}} PREROUTING -p tcp -d {ADDRESS} --dport 443 -j NOTRACK",
        f"filter {{}} INPUT -p tcp -d {ADDRESS} --dport 443 -j ACCEPT",
        f"raw {{}} OUTPUT -p tcp -s {ADDRESS} --sport 443 -j NOTRACK",
        f"filter {{}} OUTPUT -p tcp -s {ADDRESS} --sport 443 -j ACCEPT",
        f"raw {{}} OUTPUT -p tcp -d {ADDRESS} --dport 443 -j NOTRACK",
    ]
    lines = [f"iptables-{variant} --version"]
    for rule in rules:
        for action in ("-C", "-I"):
            lines.append(f"iptables-{variant} -w 5 -t {rule.format(action)}")
    script = "\n".join(lines) + f"\nip addr add {ADDRESS}/32 dev lo"
    subprocess.run(["sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def processes(path, since=0.0):
    """Successful execve calls in a trace, those after a time of day in seconds."""
    with open(path) as trace:
        # A call that another thread interrupts stands on two lines; the second has the result.
        times = [float(line.split()[1]) for line in trace if "execve" in line and line.rstrip().endswith("= 0")]
    return sum(1 for time_of in times if time_of >= since)


def measure(variant):
    flags = [f"--ip-address={ADDRESS}", "--setup-iptables", f"--rules-backend=iptables-{variant}"]
    print(f"\niptables-{variant}")

    one_shot, standing, peers = [], [], []
    for _ in range(40):
        flush(variant)
        peers.append(milliseconds(lambda: peer(variant)))
        flush(variant)
        run = lambda: subprocess.run([AGENT, *flags, "--daemon=false"], check=True, stderr=subprocess.DEVNULL)
        one_shot.append(milliseconds(run))
        standing.append(milliseconds(run))
    ratio = sorted(one_shot)[len(one_shot) // 2] / sorted(peers)[len(peers) // 2]
    row("one-shot, from empty to done and verified", spread(one_shot), "≤ 1.2 × the Go sidecar's")
    row("  the Go sidecar's processes alone, from a shell", spread(peers), f"ratio {ratio:.2f}")
    row("one-shot, all in place already", spread(standing))

    with tempfile.NamedTemporaryFile() as trace:
        command = ["strace", "-f", "-ttt", "-qq", "-e", "trace=execve", "-o", trace.name]
        process, _ = start([*command, AGENT, *flags, "--sync-interval=1s", "--cleanup"], "in place, watching")
        time.sleep(0.3)
        begun = time.time()
        time.sleep(3.0)
        row("processes started in a healthy cycle", f"{processes(trace.name, begun) / 3:.0f}",
            "0 with events (to come)" if variant == "nft" else "5")
        stopped = time.time()
        agent = sh(f"pgrep -P {process.pid}").split()[0]
        os.kill(int(agent), 15)
        process.communicate(timeout=60)
        row("processes started at teardown", str(processes(trace.name, stopped)), "at most 10")

    process, _ = start([AGENT, *flags, "--sync-interval=1s", "--cleanup"], "in place, watching")
    before = cpu_seconds(process.pid)
    time.sleep(SECONDS)
    used = (cpu_seconds(process.pid) - before) * 1000
    row(f"CPU over {SECONDS} s, 1 s interval, children included", f"{used:.0f} ms",
        "Go: 590; ≤ 60 with events (to come)")
    row("resident memory then", f"{memory_kib(process.pid) / 1024:.1f} MB", "≤ 5 MB")
    row("teardown", f"{milliseconds(lambda: stop(process)):.0f} ms")


for backend in ("nft", "legacy"):
    measure(backend)
