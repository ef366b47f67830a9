#!/usr/bin/env python3
"""Asks programs which hosts they reach past the proxy, and writes dialects.tsv.

    unshare -rn testdata/egress/record-dialects.py > testdata/egress/dialects.tsv

In a network namespace of its own nothing is there but a proxy that turns everybody away: who came to it did not go
past it. What is asked is what stands in here, and the table in docs/no-proxy.md. Needs curl from 7.86 to 8.17, wget, ruby,
golang-go, a JDK, python3-requests as Debian 12 has it, and for this script itself a Python with requests 2.34 or later.
"""

import os
import pathlib
import re
import socketserver
import subprocess
import sys
import tempfile
import threading

import requests

HERE = pathlib.Path(__file__).resolve().parent
LISTS = {
    "cluster.local,100.64.0.0/13,178.170.32.59,example.com,svc,127.0.0.1,localhost": [
        "cluster.local", "a.svc.cluster.local", "a.b.svc", "xsvc", "a.b.svc.", "100.65.0.1", "100.72.0.1",
        "178.170.32.59", "178.170.32.5", "example.com", "www.example.com", "WWW.Example.COM", "notexample.com",
        "example.com.", "example.org", "localhost", "127.0.0.1", "127.0.0.2", "[::1]",
    ],
    ".svc,.Example.com,foo.bar.": [
        "svc", "a.svc", "example.com", "www.example.com", "foo.bar", "foo.bar.", "a.foo.bar.",
    ],
    "foo.bar": ["foo.bar", "foo.bar.", "a.foo.bar."],
    "foo.bar,foo.bar.": ["foo.bar", "foo.bar.", "foo.bar.org"],
    "*.example.com,*": ["www.example.com", "example.com", "other.org", "10.0.0.1"],
    "*": ["example.com", "10.0.0.1", "[fd00::1]"],
    "fd00::/8,2001:db8::/33,::1,[fd01::1]": ["[fd00::1]", "[fd01::1]", "[2001:db8::1]", "[2001:db8:8000::1]", "[::1]", "10.0.0.1"],
    "10.0.0.0/8,0.0.0.0/0,1.1,0.1": ["10.1.2.3", "8.8.8.8", "11.0.1.1", "11.0.0.1", "0.0.0.0"],
    "172.16.0.0/16,10.0.0.5/32,10.9.0.1/24": ["172.16.9.9", "172.17.0.1", "10.0.0.5", "10.0.0.6", "10.9.0.77"],
    "cluster.local,100.64.0.0/13,178.170.32.59,.sub.net,*.wild.net,foo.bar.,[fd01::1]:443,fd02::/16,port.net:80": [
        "A.Cluster.Local", "cluster.local.", "xcluster.local", "[::ffff:178.170.32.59]", "a.sub.net", "sub.net",
        "a.wild.net", "wild.net", "foo.bar", "a.foo.bar.", "[fd01::1]", "[fd01::1]:443", "[fd02::5]", "[fd03::1]",
        "port.net", "a.port.net", "port.net:8080", "LOCALHOST", "127.0.0.9", "[::ffff:127.0.0.1]",
    ],
    "port.net:8080 spaced.net": ["port.net:8080", "spaced.net"],
    "[fd01::1],:80": ["[fd01::1]", "a:80"],
    "::ffff:10.0.0.1,::ffff:10.1.0.0/112,::/0": ["10.0.0.1", "10.1.2.3", "[::ffff:10.1.2.3]", "[::ffff:10.0.0.1]", "8.8.8.8"],
    "::1,fd00::/8": ["10.96.0.1", "10.96.0.2", "[fd00::1]", "[fd00::2]"],
    "example.com:8080": ["example.com", "example.com:8080", "www.example.com:8080", "example.com:80"],
}


came = threading.Event()


class Proxy(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        came.set()
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


class Once:
    """A program that has to be started for each URL."""

    def __init__(self, *command):
        self.command = command

    def ask(self, url):
        subprocess.run([*self.command, url], capture_output=True, check=False)

    def end(self):
        pass


class Loop:
    """One that takes URLs from its standard input; see the folder ask."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, url):
        self.process.stdin.write(url + "\n")
        assert self.process.stdout.readline() == "over\n", url

    def end(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def output(*command):
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def version(*command):
    return re.search(r"\d[\d.]*", output(*command)).group()


def documented():
    """The rows of the document's table."""
    text = (HERE / "../../docs/no-proxy.md").read_text()
    for line in text.split("| | `NO_PROXY` | host |", 1)[1].splitlines()[2:]:
        if not line.startswith("|"):
            return
        _, members, host = (cell.strip().strip("`") for cell in line.split("|")[1:4])
        yield members, host


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server = Server(("127.0.0.1", 3128), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["http_proxy"] = os.environ["HTTP_PROXY"] = "http://127.0.0.1:3128"
    ask, debian = str(HERE / "ask") + "/", "/usr/bin/python3"
    with tempfile.TemporaryDirectory() as folder:
        with_go = folder + "/with-go"
        subprocess.run(["go", "build", "-o", with_go, ask + "with-go.go"], check=True,
                       env=os.environ | {"GOCACHE": folder + "/cache", "GO111MODULE": "off"})
        subprocess.run(["javac", "-d", folder, ask + "WithJava.java"], check=True)
        old = version(debian, "-c", "import requests; print(requests.__version__)")
        programs = {
            "curl": lambda: Once("curl", "-q", "-g", "-s", "-m", "3"),
            "wget": lambda: Once("wget", "--no-config", "--no-hsts", "-q", "-T", "3", "-t", "1", "-O", "-"),
            "go": lambda: Loop(with_go),
            "requests-2.33": lambda: Loop(debian, ask + "with-requests.py"),
            "requests-2.34": lambda: Loop(sys.executable, ask + "with-requests.py"),
            "urllib": lambda: Loop(debian, ask + "with-urllib.py"),
            "net-http": lambda: Loop("ruby", "-W0", ask + "with-net-http.rb"),
            "open-uri": lambda: Loop("ruby", "-W0", ask + "with-open-uri.rb"),
            "java": lambda: Loop("java", "-cp", folder, "WithJava"),
        }
        print(f"# Recorded by record-dialects.py: curl {version('curl', '--version')}, wget {version('wget', '--version')}, "
              f"Go {version('go', 'version')}, requests {old} and {requests.__version__}, "
              f"Python {version(debian, '--version')}, Ruby {version('ruby', '--version')}, "
              f"Java {version('java', '--version')}.")
        print("# program\tNO_PROXY\thost\tway")
        wanted = {members: list(hosts) for members, hosts in LISTS.items()}
        for members, host in documented():
            hosts = wanted.setdefault(members, [])
            if host not in hosts:
                hosts.append(host)
        for members, hosts in wanted.items():
            os.environ["no_proxy"] = os.environ["NO_PROXY"] = members
            for program, start in programs.items():
                running = start()
                for host in hosts:
                    came.clear()
                    running.ask(f"http://{host}/")
                    print(program, members, host, "proxy" if came.is_set() else "direct", sep="\t")
                running.end()


main()
