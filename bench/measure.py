"""What both benchmarks need: processes watched from outside, and a table."""

import os
import statistics
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process and of the children it has waited for."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def cpu_milliseconds(pid):
    """Time on a CPU: the scheduler's own count of the process's threads, and in ticks that of its children."""
    threads = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            threads += int(stat.read().split()[0])
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return threads / 1e6 + sum(int(field) for field in fields[13:15]) / TICKS * 1000


def memory_kib(pid, field="VmRSS"):
    """Resident memory (VmRSS) or its peak (VmHWM)."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise RuntimeError(f"no {field} of {pid}")


def start(command, ready, **more):
    """Starts a program and waits until its standard error has a line with `ready`. Returns it and that line."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **more)
    seen = []
    for line in process.stderr:
        seen.append(line)
        if ready in line:
            return process, line
    raise RuntimeError("".join(seen))


def stop(process):
    process.terminate()
    process.communicate(timeout=60)
    if process.returncode != 0:
        raise RuntimeError(f"exit code {process.returncode}")


def spread(values, unit=" ms", digits=1):
    """Median, and the smallest and largest value."""
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle}{unit} ({least} to {most}, n={len(values)})"


def percentiles(values, unit="ms"):
    """Median, 99th percentile and the largest value."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(values):.1f} {unit}, p99 {p99:.1f}, worst {ordered[-1]:.1f} (n={len(values)})"


def milliseconds(action):
    begun = time.monotonic()
    action()
    return (time.monotonic() - begun) * 1000


def row(what, measured, wanted=""):
    print(f"{what:<54} {measured:<44} {wanted}", flush=True)
