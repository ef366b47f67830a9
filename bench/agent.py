"""The agent's figures: bench/agent.py FOLDER-WITH-BINARIES. Run by `make bench`, in namespaces of its own.

The Go sidecar is not at hand, so its one-shot is stood in for by the iptables programs that it starts: one for the
version, then for each rule a check and an insert, one after the other, from a shell. That leaves out its own work.
How long things stay away is measured from outside, from the kernel's event that they went to the one that they came.
SECONDS_LONG in the environment shortens the long run.
"""

import os
import subprocess
import sys
import tempfile
import time

import events
from measure import cpu_milliseconds, memory_kib, milliseconds, percentiles, row, spread, start, stop

AGENT = os.path.join(sys.argv[1], "apiserver-proxy-sidecar")
SECONDS = int(os.environ.get("SECONDS_LONG", "60"))
ADDRESS = "10.96.0.2"
# Somebody who takes more away in one go is given way to.
AT_ONCE = 15


def sh(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


def flush():
    sh(f"ip addr del {ADDRESS}/32 dev lo || true; nft flush ruleset; iptables-legacy -F; iptables-legacy -t raw -F")


def peer(backend):
    """The processes of the Go sidecar's one-shot."""
    rules = [
        f"raw {{}} PREROUTING -p tcp -d {ADDRESS} --dport 443 -j NOTRACK",
        f"filter {{}} INPUT -p tcp -d {ADDRESS} --dport 443 -j ACCEPT",
        f"raw {{}} OUTPUT -p tcp -s {ADDRESS} --sport 443 -j NOTRACK",
        f"filter {{}} OUTPUT -p tcp -s {ADDRESS} --sport 443 -j ACCEPT",
        f"raw {{}} OUTPUT -p tcp -d {ADDRESS} --dport 443 -j NOTRACK",
    ]
    lines = [f"{backend} --version"]
    for rule in rules:
        for action in ("-C", "-I"):
            lines.append(f"{backend} -w 5 -t {rule.format(action)}")
    script = "\n".join(lines) + f"\nip addr add {ADDRESS}/32 dev lo"
    subprocess.run(["sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def calls(path, what, since, until):
    """Calls in a trace that have a word, between two times of day in seconds."""
    with open(path) as trace:
        lines = [line for line in trace if what in line and "unfinished" not in line]
    times = [float(line.split()[1]) for line in lines if what != "execve" or line.rstrip().endswith("= 0")]
    return sum(1 for at in times if since <= at <= until)


def one_shots(backend, flags):
    one_shot, standing, peers = [], [], []
    for _ in range(40):
        if backend != "nftables":
            flush()
            peers.append(milliseconds(lambda: peer(backend)))
        flush()
        run = lambda: subprocess.run([AGENT, *flags, "--daemon=false"], check=True, stderr=subprocess.DEVNULL)
        one_shot.append(milliseconds(run))
        standing.append(milliseconds(run))
    row("one-shot, from empty to done and verified", spread(one_shot),
        "≤ 4 ms" if backend == "nftables" else "≤ 1.2 × the Go sidecar's")
    if peers:
        ratio = sorted(one_shot)[len(one_shot) // 2] / sorted(peers)[len(peers) // 2]
        row("  the Go sidecar's processes alone, from a shell", spread(peers), f"ratio {ratio:.2f}")
    row("one-shot, all in place already", spread(standing))


def healing(backend, flags):
    """How long things stay away, from outside.

    A process that has deleted rules holds up everybody's transactions while it closes its socket, some 10 ms: the
    kernel waits for an RCU grace period there (nft_rcv_nl_event). So each is told twice: from the event that the rule
    went, and from when the command that took it away had ended; and for a process that keeps its socket open.
    """
    own = lambda: sh("nft list tables").split()[2]
    first = lambda: sh(f"nft -a list chain inet {own()} raw_output | grep counter | head -1").split("# handle ")[1]
    flusher = events.Flusher()
    # What is taken away, how it is seen, how many come back, the wanted p99, the command.
    cases = [("address removed", events.addresses(), 1, "5 ms", lambda: f"ip addr del {ADDRESS}/32 dev lo")]
    open_case = None
    if backend == "nftables":
        cases += [
            ("one rule deleted", events.rules(), 5, "5 ms",
             lambda: f"nft delete rule inet {own()} raw_output handle {first()}"),
            ("all tables flushed", events.rules(), 5, "5 ms", lambda: f"nft flush table inet {own()}"),
        ]
        open_case = lambda: flusher.flush((1, own()))
    elif backend == "iptables-nft":
        cases += [
            ("one rule deleted", events.rules(), 1, "20 ms", lambda: "iptables-nft -t raw -D OUTPUT 1"),
            ("all tables flushed", events.rules(), 5, "20 ms",
             lambda: "nft 'flush table ip raw; flush table ip filter'"),
        ]
        open_case = lambda: flusher.flush((2, "raw"), (2, "filter"))
    for what, told, count, wanted, damage in cases:
        samples = again_and_again(flags, lambda: told.after_command(damage(), count))
        row(f"{what}: back, since it went", percentiles([sample[0] for sample in samples]), f"p99 ≤ {wanted}")
        row("  since the command had ended", percentiles([sample[1] for sample in samples]))
    if open_case:
        told = events.rules()
        samples = again_and_again(flags, lambda: told.after_call(open_case, 5))
        row("all tables flushed by a process that goes on: back", percentiles(samples), f"p99 ≤ {wanted}")


def again_and_again(flags, sample):
    """120 samples; the agent is started anew before it takes this for a fight."""
    samples = []
    while len(samples) < 120:
        process, _ = start([AGENT, *flags, "--sync-interval=1h", "--cleanup"], "in place, watching")
        for _ in range(AT_ONCE):
            time.sleep(0.02)
            samples.append(sample())
        stop(process)
    return samples


def traced(backend, flags):
    """A minute under strace: what is started, and what is written to the kernel's tables."""
    with tempfile.NamedTemporaryFile() as trace:
        command = ["strace", "-f", "-ttt", "-qq", "-s", "64", "-e", "trace=execve,sendto,sendmsg", "-o", trace.name]
        process, _ = start([*command, AGENT, *flags, "--sync-interval=1s", "--cleanup"], "in place, watching")
        time.sleep(0.5)
        begun = time.time()
        time.sleep(SECONDS)
        ended = time.time()
        started, cycles = calls(trace.name, "execve", begun, ended), SECONDS
        writes = sum(calls(trace.name, kind, begun, ended) for kind in ("NEWADDR", "DELADDR", "NEWLINK", "BATCH"))
        row(f"processes started in {cycles} healthy cycles", f"{started} ({started / cycles:.1f} a cycle)",
            "4 to 5 a cycle" if backend == "iptables-legacy" else "0")
        row(f"writes to the kernel's tables in {cycles} healthy cycles", str(writes), "0")
        agent = sh(f"pgrep -P {process.pid}").split()[0]
        os.kill(int(agent), 15)
        process.communicate(timeout=60)
        row("processes started at teardown", str(calls(trace.name, "execve", ended, time.time())), "at most 10")


def long_run(backend, flags):
    process, _ = start([AGENT, *flags, "--sync-interval=1s", "--cleanup"], "in place, watching")
    whole = cpu_milliseconds(process.pid)
    time.sleep(SECONDS)
    used = cpu_milliseconds(process.pid) - whole
    wanted = {"nftables": "≤ 10 ms", "iptables-nft": "≤ 60 ms"}.get(backend, "")
    row(f"CPU over {SECONDS} s, 1 s interval, children included", f"{used:.1f} ms (start: {whole:.1f} ms)",
        f"{wanted}; Go: 590")
    row("resident memory then", f"{memory_kib(process.pid) / 1024:.1f} MB", "≤ 5 MB; Go: 9.5")
    row("teardown", f"{milliseconds(lambda: stop(process)):.0f} ms")


for backend in ("nftables", "iptables-nft", "iptables-legacy"):
    flush()
    flags = [f"--ip-address={ADDRESS}", "--setup-iptables", f"--rules-backend={backend}"]
    print(f"\n{backend}")
    one_shots(backend, flags)
    healing(backend, flags)
    traced(backend, flags)
    long_run(backend, flags)
